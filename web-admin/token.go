package webadmin

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mailweir/mailweir/appliance/durable"
)

// minTokenBytes is the shortest token file we accept: an owner may write one of their own, but not a word.
const minTokenBytes = 24

// token is the digest of the admin token; the token itself is not kept in memory.
type token [sha256.Size]byte

// loadToken reads the admin token from path, making it at the first start: 256 random bits, base64url, readable by the owner only.
func loadToken(path string) (token, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var secret [32]byte
		rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
		b = []byte(base64.RawURLEncoding.EncodeToString(secret[:]) + "\n")
		err = durable.Replace(path, b)
	}
	if err != nil {
		return token{}, fmt.Errorf("admin token: %w", err)
	}
	b = bytes.TrimSpace(b)
	if len(b) < minTokenBytes {
		return token{}, fmt.Errorf("admin token: %s holds %d characters, at least %d are needed; remove the file to have one made", path, len(b), minTokenBytes)
	}
	return sha256.Sum256(b), nil
}

// is says whether s is the token, in time that does not depend on how much of it is right.
func (t token) is(s string) bool {
	sum := sha256.Sum256([]byte(s))
	return subtle.ConstantTimeCompare(t[:], sum[:]) == 1
}
