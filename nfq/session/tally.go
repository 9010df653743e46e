package session

// tally counts the records of a flight by their length.
type tally struct {
	length, n [tallied]uint16
	rest      int // records of yet other lengths
}

const tallied = 8

func (t *tally) add(length int) {
	for i := range t.length {
		switch int(t.length[i]) {
		case 0:
			t.length[i], t.n[i] = uint16(length), 1
			return
		case length:
			if t.n[i] < 1<<16-1 {
				t.n[i]++
			}
			return
		}
	}
	t.rest++
}

// has reports whether some records have from least to most bytes, others than but.
func (t *tally) has(least, most, but int) bool {
	for _, l := range t.length {
		if int(l) >= least && int(l) <= most && int(l) != but {
			return true
		}
	}
	return false
}

func (t *tally) shortest() (l uint16) {
	for _, have := range t.length {
		if have != 0 && (l == 0 || have < l) {
			l = have
		}
	}
	return l
}

// multiples reports whether all records are as long as some replies of n bytes together, or of one or two more.
func (t *tally) multiples(n int) bool {
	if t.rest > 0 {
		return false
	}
	for _, l := range t.length {
		if k := (int(l) + 2) / n; l != 0 && (k == 0 || int(l) > k*(n+2)) {
			return false
		}
	}
	return true
}
