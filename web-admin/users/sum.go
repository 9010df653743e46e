package users

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

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

// SumElsewhere has f make the sums; where it cannot, which it has to tell, they are made in this process. It is to be called before the first of them.
func (s *Store) SumElsewhere(f func(Sum) ([]byte, error)) {
	s.gate.sum = func(q Sum) []byte {
		sum, err := f(q)
		if err != nil || len(sum) != hashBytes {
			return here(q)
		}
		return sum
	}
}

// SumCommand is the only argument of the process that makes sums for another.
const SumCommand = "hash-passwords"

// Reexec returns at once in an ordinary process. In one that is to make sums it answers questions, one in a line of JSON each, until there are no more
// of them, and does not return.
func Reexec() {
	if len(os.Args) != 2 || os.Args[1] != SumCommand {
		return
	}
	if err := answer(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "mailweir: hash passwords: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func answer(in io.Reader, out io.Writer) error {
	questions, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q Sum
		if err := questions.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		sum := q.make()
		debug.FreeOSMemory() // there is little else in it
		if err := answers.Encode(sum); err != nil {
			return err
		}
	}
}
