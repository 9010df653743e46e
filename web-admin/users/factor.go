package users

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"
)

// How codes are made: what every authenticator app does (RFC 6238 with SHA-1, six digits, 30 s).
const (
	codeEvery  = 30 * time.Second
	codeSkew   = 1 // steps before and after that are taken, RFC 6238 section 5.2
	recoveries = 10
	codeGroups = 5 // of a recovery code: 125 bits
)

// factor is a second factor.
type factor struct {
	Secret string `json:"secret"` // base32
	// Last is the time step of the last code that was taken: RFC 6238 section 5.2, none is taken twice.
	Last uint64 `json:"last"`
}

// NewFactor is a secret for a second factor. Nothing is kept until [Store.SetFactor].
func NewFactor() (secret string, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: issuer, SecretSize: 20}) // RFC 4226 section 4: 160 bits
	if err != nil {
		return "", err
	}
	return key.Secret(), nil
}

const issuer = "mailweir"

// FactorURI is the otpauth URI of a secret, as apps read it from a QR code. box tells several boxes apart in the app.
func FactorURI(name, box, secret string) string {
	label := url.PathEscape(issuer + ":" + name + "@" + box)
	return "otpauth://totp/" + label + "?" + url.Values{"secret": {secret}, "issuer": {issuer}}.Encode()
}

// step is the time step whose code this is, later than last; false: of none.
func step(secret, code string, now time.Time, last uint64) (uint64, bool) {
	counter := uint64(now.Unix()) / uint64(codeEvery/time.Second)
	for c := counter - codeSkew; c <= counter+codeSkew; c++ {
		ok, err := hotp.ValidateCustom(code, c, secret, hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && ok && c > last {
			return c, true
		}
	}
	return 0, false
}

// SetFactor gives name a second factor once they have shown with a code that their app has it, and returns recovery codes that are
// shown once.
func (s *Store) SetFactor(name, secret, code string) (recovery []string, err error) {
	c, ok := step(secret, Plain(code), s.now(), 0)
	if !ok {
		return nil, Refused{"code", "is not what the app shows now; look at the app's clock, and at the box's"}
	}
	var digests []string
	for range recoveries {
		r := Generate(codeGroups)
		recovery = append(recovery, r)
		digests = append(digests, digest(Plain(r)))
	}
	_, err = s.change(name, func(_ *state, a *account) error {
		if a == nil {
			return ErrUnknown
		}
		a.Factor, a.Recovery = &factor{Secret: secret, Last: c}, digests
		return nil
	})
	if err != nil {
		return nil, err
	}
	return recovery, nil
}

// DropFactor takes the second factor of name away; whoever needs one sets up another at the next login.
func (s *Store) DropFactor(name string) (User, error) {
	return s.change(name, func(_ *state, a *account) error {
		if a == nil {
			return ErrUnknown
		}
		a.Factor, a.Recovery = nil, nil
		return nil
	})
}

// CheckFactor tells whether code is the app's of now, or a recovery code; either is used up by it, on the disk.
func (s *Store) CheckFactor(name, code string) (recovered, ok bool, err error) {
	code = Plain(code)
	_, err = s.change(name, func(_ *state, a *account) error {
		if a == nil || a.Factor == nil {
			return errWrong
		}
		if c, right := step(a.Factor.Secret, code, s.now(), a.Factor.Last); right {
			a.Factor.Last = c
			return nil
		}
		i := slices.Index(a.Recovery, digest(code))
		if i < 0 {
			return errWrong
		}
		a.Recovery, recovered = slices.Delete(a.Recovery, i, i+1), true
		return nil
	})
	if err == errWrong {
		return false, false, nil
	}
	return recovered, err == nil, err
}

// errWrong ends a change that is none.
var errWrong = Refused{"code", "is wrong"}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
