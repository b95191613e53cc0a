package relay

import "io"

// pump moves bytes from src to dst until src has no more; the end of src is not an
// error. It calls show with each chunk before it passes the chunk on.
//
//exercise:1
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

// ChunkSize is the most bytes that one read takes, and the size of the only buffer
// that a direction has. There is no queue: while a chunk can't be written to a slow
// reader, the next one is not read, the kernel's buffers fill up, and TCP makes the
// sender wait.
const ChunkSize = 32 * 1024
