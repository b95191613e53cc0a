package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
)

// read reads a file of settings, and returns its content and its mode, owner and size.
func read(file string) ([]byte, fs.FileInfo, error) {
	text, info, err := atomicfile.Read(file, maxFile, atomicfile.Follow)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, app.Hint(fmt.Errorf("there is no file %s", file), "'stepvpn init server' or 'stepvpn init client' writes one.")
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, app.Hint(err, "The file belongs to another user. Run this as that user, or as root.")
	case errors.Is(err, atomicfile.ErrTooLarge):
		return nil, nil, fmt.Errorf("%s is longer than %d bytes, which no settings need", file, maxFile)
	case err != nil:
		return nil, nil, err
	}
	text, err = unmarked(file, text)
	return text, info, err
}

// maxFile is the size of the largest file that is read, in bytes.
const maxFile = 64 << 10

// settingsFile says who may change a file of settings. (Client.check says who may read it.)
var settingsFile = atomicfile.Kind{Name: "the file of settings", Cure: "Anyone who can write it decides what this host does."}

// mark is the byte order mark with which some editors begin a file.
const mark = "\ufeff"

// unmarked returns a text without that mark. A text in UTF-16, which begins with a mark of its
// own, is an error.
func unmarked(file string, text []byte) ([]byte, error) {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, app.Hint(fmt.Errorf("%s is text in UTF-16", file), "Save it as UTF-8: editors on Windows offer that as 'encoding'.")
	}
	return bytes.TrimPrefix(text, []byte(mark)), nil
}
