package subscriber

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// appendKey appends what circuits are compared by. A hardware address, which everybody writes in his own way, and longer
// identifiers of hex pairs (DHCP client ids, DUIDs) become bare lower-case hex digits. In everything else a space counts as
// "_", because spaces separate circuits in the list and circuit ids of access nodes have them (TR-101: "dslam1 atm 1/1:8.35").
func appendKey(b []byte, circuit string) []byte {
	if !hexPairs(circuit) && !cisco(circuit) && !(len(circuit) == 12 && hexOnly(circuit)) {
		for i := range len(circuit) {
			c := circuit[i]
			if c == ' ' {
				c = '_'
			}
			b = append(b, c)
		}
		return b
	}
	for i := range len(circuit) {
		switch d := circuit[i]; {
		case d >= 'A' && d <= 'F':
			b = append(b, d|0x20)
		case d != ':' && d != '-' && d != '.':
			b = append(b, d)
		}
	}
	return b
}

// foldKey is appendKey without regard to case and to blanks around.
func foldKey(b []byte, name string) []byte {
	return appendKey(b, fold(name))
}

// fold is a user name without blanks around, in lower case: access servers take "Home@ISP" for "home@isp", and a customer
// could have a new line with every way to write it.
func fold(name string) string {
	if name = strings.TrimSpace(name); !utf8.ValidString(name) {
		return name
	}
	return strings.ToLower(name)
}

func isHex(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
}

func hexOnly(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return true
}

// hexPairs tells whether s is six or more pairs with one kind of separator: 02:00:5E:00:53:01, 02-00-5e-00-53-01.
func hexPairs(s string) bool {
	if len(s) < 17 || len(s)%3 != 2 || s[2] != ':' && s[2] != '-' {
		return false
	}
	for i := range len(s) {
		if i%3 == 2 && s[i] != s[2] || i%3 != 2 && !isHex(s[i]) {
			return false
		}
	}
	return true
}

// cisco tells whether s is a hardware address as some access servers write it: 0200.5e00.5301.
func cisco(s string) bool {
	return len(s) == 14 && s[4] == '.' && s[9] == '.' && hexOnly(s[:4]) && hexOnly(s[5:9]) && hexOnly(s[10:])
}

// lineOf names the line of a RADIUS user that no list has. Names differ where user names do by more than case or blanks around them: what could not stand in a
// log line or a URL is written as %XX, and what would be too long ends in a hash of the whole.
func lineOf(user string) string {
	const limit = 128
	user = fold(user)
	var b strings.Builder
	b.WriteString(userPrefix)
	for i, r := range user {
		n := utf8.RuneLen(r)
		bad := r == '%' || unicode.IsSpace(r) || !unicode.IsPrint(r)
		if r == utf8.RuneError {
			_, n = utf8.DecodeRuneInString(user[i:])
			bad = bad || n <= 1
		}
		if !bad {
			b.WriteString(user[i : i+n])
			continue
		}
		for _, c := range []byte(user[i : i+n]) {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() <= limit {
		return b.String()
	}
	sum := sha256.Sum256([]byte(user))
	hash := "%~" + hex.EncodeToString(sum[:16])
	cut := b.String()[:limit-len(hash)]
	for !utf8.ValidString(cut) {
		cut = cut[:len(cut)-1]
	}
	return cut + hash
}
