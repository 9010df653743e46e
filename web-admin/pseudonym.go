package webadmin

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
)

// pseudonyms turn subscribers' ids into words that say nothing without the box's key and stay the same, and back. It is the synthetic
// IV construction (as in RFC 5297): the IV is a MAC of the id, so equal ids give equal words and a word that nobody made is told. No
// table is needed, so that a list of a million lines costs nothing and a link holds through a restart. Ids are padded before, so that all pseudonyms
// have one length.
type pseudonyms struct {
	mac      []byte
	block    cipher.Block
	orderKey []byte // of tie
	tie      func(id string) uint64
}

const (
	pseudonymMark = "line-"
	ivBytes       = 8   // 64 bits: among a million lines two share one with a chance of 1 in 37 million
	nameLetters   = 7   // of what stands for a name: 35 bits
	idRoom        = 136 // bytes of an id with its padding: a list's have 128 at most, and its pseudonym fits where a text may have 256
	longRoom      = 576 // of one that is longer, such as a RADIUS user that is in no list, and of every cursor
	longestID     = longRoom - 1
)

func newPseudonyms(key []byte) pseudonyms {
	block, err := aes.NewCipher(derived(key, "pseudonyms, to hide"))
	if err != nil {
		panic("webadmin: " + err.Error()) // the key has 32 bytes
	}
	order := derived(key, "pseudonyms, to put in order")
	return pseudonyms{mac: derived(key, "pseudonyms, to tell apart"), block: block, orderKey: order, tie: TieOf(order)}
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
	if len(id) < idRoom {
		return p.seal(id, idRoom)
	}
	return p.seal(id, longRoom)
}

// hideCursor is hide for a text that has an id among other things: all of these have one length, too.
func (p pseudonyms) hideCursor(text string) string {
	if text == "" {
		return ""
	}
	return p.seal(text, longRoom)
}

// seal hides a text in as much room as others take; what does not fit takes it several times, and cannot be opened.
func (p pseudonyms) seal(text string, room int) string {
	padded := append([]byte(text), padding)
	if over := len(padded) % room; over > 0 {
		padded = append(padded, make([]byte, room-over)...)
	}
	iv := p.iv([]byte(text))
	return pseudonymMark + words.EncodeToString(append(iv, p.stream(iv, padded)...))
}

// padding ends a text; zeros follow (ISO/IEC 7816-4).
const padding = 0x80

// TieOf is the Tie of [Query] that goes by a key of 32 bytes, for who asks from another process.
func TieOf(key []byte) func(id string) uint64 {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil
	}
	return func(id string) uint64 { return tie(block, id) }
}

// tie is a number for an id that orders ids and tells nothing of them: a MAC (CBC, with the length first), of which a million take a tenth of a second.
func tie(block cipher.Block, id string) uint64 {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(len(id)))
	block.Encrypt(b[:], b[:])
	for rest := id; rest != ""; {
		n := min(len(rest), aes.BlockSize)
		for i := range n {
			b[i] ^= rest[i]
		}
		block.Encrypt(b[:], b[:])
		rest = rest[n:]
	}
	return binary.BigEndian.Uint64(b[:])
}

// open is the id of a pseudonym; of nothing, nothing.
func (p pseudonyms) open(word string) (id string, ok bool) {
	if word == "" {
		return "", true
	}
	text, marked := strings.CutPrefix(word, pseudonymMark)
	b, err := words.DecodeString(text)
	if !marked || err != nil || len(b) != ivBytes+idRoom && len(b) != ivBytes+longRoom {
		return "", false
	}
	out, padded := bytes.CutSuffix(bytes.TrimRight(p.stream(b[:ivBytes], b[ivBytes:]), "\x00"), []byte{padding})
	if !padded || !hmac.Equal(p.iv(out), b[:ivBytes]) {
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
