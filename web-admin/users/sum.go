package users

import (
	"runtime"

	"golang.org/x/crypto/argon2"
)

// Sum is a question for the argon2id (RFC 9106) of a password, of [hashBytes].
type Sum struct {
	Password, Salt []byte
	Time, Memory   uint32 // passes, and KiB
	Threads        uint8
}

func (s Sum) make() []byte {
	return argon2.IDKey(s.Password, s.Salt, s.Time, s.Memory, s.Threads, hashBytes)
}

// here makes it in this process. What that used is collected at once: otherwise a flood of logins would grow the heap by as many hashes as fit until
// the collector comes by itself, which in a process with much in memory is late.
func here(s Sum) []byte {
	defer runtime.GC()
	return s.make()
}
