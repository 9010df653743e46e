package tlshello

import (
	"crypto/md5" // what JA3 is defined with; it secures nothing
	"encoding/hex"
	"strconv"
)

// ja3 is JA3 as salesforce/ja3 describes it: legacy version, ciphers, extensions, groups and point formats in decimal
// and in the order sent, GREASE left out.
func (h *Hello) ja3() string {
	var room [512]byte // what today's lists need
	s := strconv.AppendUint(room[:0], uint64(h.LegacyVersion), 10)
	for _, list := range [][]uint16{h.Ciphers, h.Extensions, h.Groups} {
		s = append(s, ',')
		first := true
		for _, v := range list {
			if !grease(v) {
				s = decimal(s, first, uint64(v))
				first = false
			}
		}
	}
	s = append(s, ',')
	for i, p := range h.points {
		s = decimal(s, i == 0, uint64(p))
	}
	sum := md5.Sum(s)
	return hex.EncodeToString(sum[:])
}

// decimal appends v, behind a dash unless it is the first.
func decimal(to []byte, first bool, v uint64) []byte {
	if !first {
		to = append(to, '-')
	}
	return strconv.AppendUint(to, v, 10)
}
