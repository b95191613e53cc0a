package relay

import "io"

// ChunkSize is the most bytes that one read takes, and all the memory that a
// direction has. There is no queue: while a slow reader's chunk can't be
// written, no other one is read, the kernel's buffers fill up, and TCP makes
// the sender wait.
const ChunkSize = 32 * 1024

// pump moves bytes from src to dst until src has no more; that is not an error.
// It shows each chunk before it passes it on.
func pump(dst io.Writer, src io.Reader, show func(chunk []byte)) error {
	buf := make([]byte, ChunkSize)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			show(buf[:n])
			if _, err := dst.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
