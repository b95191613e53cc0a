// Package backup keeps in one encrypted file what makes a server or a client what it is:
// settings, keys, the registry, leases, and what is known of the clients. It puts that back on
// the same host, or on another one. Introduced in step 8.
//
// The file is in the format of age (age-encryption.org/v1), encrypted by a passphrase, so that
// "age -d FILE | tar -t" lists what is in it. Inside is a tar file: manifest.json first, and then
// a file for each role, such as server/key: see items.go, which has all roles.
//
// An archive is hostile until it is parsed. It says what the files contain, and nothing else:
// where they are put, with which modes and owners, follows from the roles, and from the settings
// in the archive, which are parsed first. Paths outside of the folders that the operator has named are
// refused. Nothing is changed before the whole archive was read and checked.
//
//	items.go    which files there are, and where
//	collect.go  reads them
//	archive.go  tar and age
//	restore.go  puts them back, all or none
package backup

import "time"

// Format is the name of this format of archives, which the manifest begins with, and Version the
// newest version of it that this program knows. It rises when there is a
// new role, as a program that does not know that refuses the file.
const (
	Format  = "stepvpn backup"
	Version = 2
)

// A Manifest says what an archive is.
type Manifest struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Made    time.Time `json:"made"`
	Host    string    `json:"host"`    // the name of the host that it was made on
	Program string    `json:"program"` // the release of the program that has made it
}

// An Archive is what a backup has in it.
type Archive struct {
	Manifest
	Files map[string][]byte // by their names in the archive, such as "server/key"
}

// Limits of what is read, in bytes. A server with 65,533 clients has less.
const (
	maxTotal = 256 << 20 // of all files together
	maxFiles = 4096
)
