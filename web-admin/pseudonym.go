package webadmin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// pseudonyms turn subscribers' ids into words that say nothing without the box's key and stay the same, and back. It is the synthetic
// IV construction (as in RFC 5297): the IV is a MAC of the id, so equal ids give equal words and a word that nobody made is told. No
// table is needed, so that a list of a million lines costs nothing and a link holds through a restart.
type pseudonyms struct {
	mac   []byte
	block cipher.Block
}

const (
	pseudonymMark = "line-"
	ivBytes       = 8 // 64 bits: among a million lines two share one with a chance of 1 in 37 million
	nameLetters   = 7 // of what stands for a name: 35 bits
	longestID     = 512
)

func newPseudonyms(key []byte) pseudonyms {
	block, err := aes.NewCipher(derived(key, "pseudonyms, to hide"))
	if err != nil {
		panic("webadmin: " + err.Error()) // the key has 32 bytes
	}
	return pseudonyms{mac: derived(key, "pseudonyms, to tell apart"), block: block}
}

var words = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding) // without l and o, 0 and 1

func (p pseudonyms) iv(id []byte) []byte {
	mac := hmac.New(sha256.New, p.mac)
	mac.Write(id)
	return mac.Sum(nil)[:ivBytes]
}

func (p pseudonyms) stream(iv, text []byte) []byte {
	out := make([]byte, len(text))
	cipher.NewCTR(p.block, append(iv[:ivBytes:ivBytes], make([]byte, aes.BlockSize-ivBytes)...)).XORKeyStream(out, text)
	return out
}

// hide is the pseudonym of id; of nobody, nothing.
func (p pseudonyms) hide(id string) string {
	if id == "" {
		return ""
	}
	iv := p.iv([]byte(id))
	return pseudonymMark + words.EncodeToString(append(iv, p.stream(iv, []byte(id))...))
}

// open is the id of a pseudonym; of nothing, nothing.
func (p pseudonyms) open(word string) (id string, ok bool) {
	if word == "" {
		return "", true
	}
	text, marked := strings.CutPrefix(word, pseudonymMark)
	b, err := words.DecodeString(text)
	if !marked || err != nil || len(b) <= ivBytes || len(b) > longestID+ivBytes {
		return "", false
	}
	out := p.stream(b[:ivBytes], b[ivBytes:])
	if !hmac.Equal(p.iv(out), b[:ivBytes]) {
		return "", false
	}
	return string(out), true
}

// seek is open for what somebody typed.
func (p pseudonyms) seek(text string) (id string, ok bool) { return p.open(strings.ToLower(text)) }

// name is what stands for the name of a subscriber.
func (p pseudonyms) name(id string) string {
	if id == "" {
		return ""
	}
	return p.hide(id)[:len(pseudonymMark)+nameLetters]
}
