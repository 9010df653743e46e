package tlshello

import (
	"crypto/md5" // what JA3 is defined with; it secures nothing
	"encoding/hex"
	"strconv"
)

// ja3 is JA3 as salesforce/ja3 describes it: legacy version, ciphers, extensions, groups and point formats in decimal
// and in the order sent, GREASE left out.
func (h *Hello) ja3() string {
	s := strconv.AppendUint(nil, uint64(h.LegacyVersion), 10)
	for _, list := range [][]uint16{h.Ciphers, h.Extensions, h.Groups} {
		s = append(s, ',')
		for i, v := range withoutGREASE(list) {
			s = decimal(s, i, uint64(v))
		}
	}
	s = append(s, ',')
	for i, p := range h.points {
		s = decimal(s, i, uint64(p))
	}
	sum := md5.Sum(s)
	return hex.EncodeToString(sum[:])
}

// decimal appends v, with a dash before it unless it is the first.
func decimal(to []byte, i int, v uint64) []byte {
	if i > 0 {
		to = append(to, '-')
	}
	return strconv.AppendUint(to, v, 10)
}
