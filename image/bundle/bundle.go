// Package bundle is the file that an update comes in: an ustar archive of a manifest, its minisign signature and the bytes of a slot.
//
//	manifest.json          product, board, version, build number, floor; size and SHA-256 of the slot
//	manifest.json.minisig  Ed25519 over the manifest's BLAKE2b-512 (minisign's "ED"), by one of the keys that the image pins
//	slot                   as it will lie in the partition
//
// The same content gives the same bytes, and only those: whoever reads knows what each header and each byte of padding has to be, so there is no byte in
// a bundle that could be another one. The signature is checked before anything else is believed, and nothing in the file says whether or how.
package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"aead.dev/minisign"

	"github.com/mailweir/mailweir/image/layout"
)

// Suffix is that of bundles' names.
const Suffix = ".mwu"

// Manifest says what an update is and whom it is for.
type Manifest struct {
	Product    string `json:"product"`
	Board      string `json:"board"`
	Version    string `json:"version"`         // for people
	Build      int64  `json:"build"`           // which of two is the newer
	Floor      int64  `json:"floor,omitempty"` // no build below this one is taken after it
	SlotSize   int64  `json:"slot_size"`
	SlotSHA256 string `json:"slot_sha256"`
}

func (m Manifest) String() string {
	return fmt.Sprintf("%s %s for %s, build %d", m.Product, m.Version, m.Board, m.Build)
}

const (
	manifestName  = "manifest.json"
	signatureName = "manifest.json.minisig"
	slotName      = "slot"

	untrusted = "signature of an update of mailweir"

	block        = 512 // of a tar
	mostManifest = 16 << 10
	mostComment  = 1 << 10
)

// Write makes the bundle of a slot, signed.
func Write(w io.Writer, about layout.About, slot []byte, secret minisign.PrivateKey) error {
	if int64(len(slot)) > layout.SlotBytes {
		return fmt.Errorf("the slot has %d bytes, its partition %d", len(slot), int64(layout.SlotBytes))
	}
	if about.Floor > about.Build {
		return fmt.Errorf("build %d is below its own floor %d", about.Build, about.Floor)
	}
	sum := sha256.Sum256(slot)
	m := Manifest{Product: about.Product, Board: about.Board, Version: about.Version, Build: about.Build, Floor: about.Floor,
		SlotSize: int64(len(slot)), SlotSHA256: hex.EncodeToString(sum[:])}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	comment := m.String()
	if len(comment) > mostComment || strings.ContainsAny(comment, "\r\n") {
		return fmt.Errorf("version %q: one line of at most some hundred characters", about.Version)
	}
	r := minisign.NewReader(bytes.NewReader(text))
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		data []byte
	}{{manifestName, text}, {signatureName, r.SignWithComments(secret, comment, untrusted)}, {slotName, slot}} {
		if err := t.WriteHeader(header(f.name, int64(len(f.data)))); err != nil {
			return fmt.Errorf("update: %s: %w", f.name, err)
		}
		if _, err := t.Write(f.data); err != nil {
			return fmt.Errorf("update: %s: %w", f.name, err)
		}
	}
	return t.Close()
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, Format: tar.FormatUSTAR}
}

// headerBlock is the one block that a member's header can be.
func headerBlock(name string, size int64) ([]byte, error) {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(header(name, size)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// ParseKeys reads public keys of minisign, as About has them: the line without the comment.
func ParseKeys(texts []string) (keys []minisign.PublicKey, err error) {
	for _, t := range texts {
		var k minisign.PublicKey
		if err := k.UnmarshalText([]byte(t)); err != nil {
			return nil, fmt.Errorf("public key %q: %w", t, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// Errors that somebody tells apart.
var (
	ErrSignature = errors.New("the signature is not by a key that this image trusts")
	ErrDamaged   = errors.New("the file is damaged")
	ErrShort     = errors.New("the file is cut short")
)

// Bundle is one whose manifest is signed by a key that is trusted. Of the slot nothing is known before Slot returns.
type Bundle struct {
	Manifest
	r io.Reader
}

// Open reads manifest and signature, and checks them.
func Open(r io.Reader, keys []minisign.PublicKey) (*Bundle, error) {
	text, err := member(r, manifestName, mostManifest)
	if err != nil {
		return nil, err
	}
	signature, err := member(r, signatureName, mostManifest)
	if err != nil {
		return nil, err
	}
	if err := verify(text, signature, keys); err != nil {
		return nil, err
	}
	b := &Bundle{r: r}
	if err := json.Unmarshal(text, &b.Manifest); err != nil {
		return nil, fmt.Errorf("%s, although it is signed: %w", manifestName, err)
	}
	switch sum, err := hex.DecodeString(b.SlotSHA256); {
	case err != nil || len(sum) != sha256.Size:
		return nil, fmt.Errorf("%s: slot_sha256 %q: 64 hexadecimal digits", manifestName, b.SlotSHA256)
	case b.SlotSize <= 0 || b.SlotSize > layout.SlotBytes:
		return nil, fmt.Errorf("%s: slot_size %d: 1 to %d", manifestName, b.SlotSize, int64(layout.SlotBytes))
	case b.Build <= 0 || b.Floor < 0 || b.Floor > b.Build:
		return nil, fmt.Errorf("%s: build %d, floor %d: a build is above 0 and not below its floor", manifestName, b.Build, b.Floor)
	}
	return b, nil
}

// verify holds the signature against each key. Its text has to be as Write makes it: minisign itself lets the comment that is not signed be anything.
func verify(text, signature []byte, keys []minisign.PublicKey) error {
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return fmt.Errorf("%w: %s: %v", ErrDamaged, signatureName, err)
	}
	if again, err := s.MarshalText(); err != nil || !bytes.Equal(again, signature) || s.UntrustedComment != untrusted || s.Algorithm != minisign.HashEdDSA {
		return fmt.Errorf("%w: %s is not as a signature of an update has to be", ErrDamaged, signatureName)
	}
	r := minisign.NewReader(bytes.NewReader(text))
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	for _, k := range keys {
		if r.Verify(k, signature) {
			return nil
		}
	}
	return fmt.Errorf("%w (it is by key %016X)", ErrSignature, s.KeyID)
}

// member reads a whole member of the archive, with its padding.
func member(r io.Reader, name string, most int64) ([]byte, error) {
	head := make([]byte, block)
	if err := read(r, head); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	h, err := tar.NewReader(bytes.NewReader(head)).Next()
	if err != nil || h.Name != name {
		return nil, fmt.Errorf("%w: no update of mailweir, or not as one has to be: %s does not come where it should", ErrDamaged, name)
	}
	if h.Size < 1 || h.Size > most {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are possible", ErrDamaged, name, h.Size, most)
	}
	if err := isHeader(head, name, h.Size); err != nil {
		return nil, err
	}
	data := make([]byte, h.Size)
	if err := read(r, data); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, zeros(r, -h.Size&(block-1), name)
}

func isHeader(head []byte, name string, size int64) error {
	want, err := headerBlock(name, size)
	if err != nil {
		return err
	}
	if !bytes.Equal(head, want) {
		return fmt.Errorf("%w: the header of %s is not as it has to be", ErrDamaged, name)
	}
	return nil
}

// zeros reads n bytes that have to be zero.
func zeros(r io.Reader, n int64, after string) error {
	pad := make([]byte, n)
	if err := read(r, pad); err != nil {
		return fmt.Errorf("behind %s: %w", after, err)
	}
	for _, b := range pad {
		if b != 0 {
			return fmt.Errorf("%w: there is something behind %s where nothing has to be", ErrDamaged, after)
		}
	}
	return nil
}

// read fills b; the end of the file before that is ErrShort.
func read(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrShort
	}
	return err
}

// Slot copies the slot's bytes to w, and reads the bundle to its end. What w got is the slot only if there is no error.
func (b *Bundle) Slot(w io.Writer) error {
	head := make([]byte, block)
	if err := read(b.r, head); err != nil {
		return fmt.Errorf("%s: %w", slotName, err)
	}
	if err := isHeader(head, slotName, b.SlotSize); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(b.r, b.SlotSize))
	if err != nil {
		return fmt.Errorf("after %d bytes of the slot: %w", n, err)
	}
	if n < b.SlotSize {
		return fmt.Errorf("after %d of %d bytes of the slot: %w", n, b.SlotSize, ErrShort)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != b.SlotSHA256 {
		return fmt.Errorf("%w: the slot has SHA-256 %s, the signed manifest says %s", ErrDamaged, got, b.SlotSHA256)
	}
	if err := zeros(b.r, -b.SlotSize&(block-1)+2*block, slotName); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(b.r, 1)); err != nil || n > 0 {
		return errors.Join(err, fmt.Errorf("%w: it goes on behind its end", ErrDamaged))
	}
	return nil
}
