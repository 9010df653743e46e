// Package sealed locks a file with a passphrase, and opens it. The format is age's (https://age-encryption.org/v1), so that `age -d` opens it anywhere.
package sealed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"filippo.io/age"
)

// workFactor is log2 of scrypt's N: 32 MiB, and some hundred milliseconds on a small box. What age makes by itself takes eight times as much, which
// a small box may not have.
const workFactor = 15

// MinPassphrase and MaxPassphrase are the lengths of a passphrase, in characters. Whoever has the file may guess for as long as they like.
const (
	MinPassphrase = 15
	MaxPassphrase = 256
)

// ErrPassphrase is that of a passphrase with which the file was not locked.
var ErrPassphrase = errors.New("the passphrase is not the one that it was locked with")

// Check says what is wrong with a passphrase for a new file.
func Check(passphrase string) error {
	if n := utf8.RuneCountInString(passphrase); n < MinPassphrase || n > MaxPassphrase {
		return fmt.Errorf("a passphrase has %d to %d characters, and this one has %d", MinPassphrase, MaxPassphrase, n)
	}
	return nil
}

// Is tells whether a file is one that Seal made, or age.
func Is(file []byte) bool { return bytes.HasPrefix(file, []byte("age-encryption.org/")) }

// Seal locks a file. It takes 32 MiB while it runs: a caller that serves many lets one in at a time.
func Seal(plain []byte, passphrase string) ([]byte, error) {
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	to.SetWorkFactor(workFactor)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Open opens what Seal locked, or age with a work factor of at most 15. It takes what Seal takes.
func Open(file []byte, passphrase string) ([]byte, error) {
	if passphrase == "" {
		return nil, errors.New("it is locked with a passphrase")
	}
	by, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	by.SetMaxWorkFactor(workFactor)
	r, err := age.Decrypt(bytes.NewReader(file), by)
	if _, none := errors.AsType[*age.NoIdentityMatchError](err); none {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("it cannot be opened: %w", err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	return plain, nil
}
