package session

// maxOutstanding is how many runs of like commands may wait for replies; a run
// of RCPT is one entry however long it is.
const maxOutstanding = 32

// outstanding is a run of n commands of one verb that were sent and not answered.
type outstanding struct {
	verb verb
	n    int32
	at   int64 // offset of the first command's first byte
}

// queue holds the outstanding commands in the order sent (RFC 2920).
type queue struct {
	ring [maxOutstanding]outstanding
	head int
	len  int
}

func (q *queue) entry(i int) *outstanding { return &q.ring[(q.head+i)%maxOutstanding] }

// push adds a command. If there is no room the oldest run is dropped and given back.
func (q *queue) push(v verb, at int64) (dropped outstanding) {
	if q.len > 0 {
		if last := q.entry(q.len - 1); last.verb == v && last.n < 1<<30 && !v.final() {
			last.n++
			return outstanding{}
		}
	}
	if q.len == maxOutstanding {
		dropped = *q.entry(0)
		q.head, q.len = (q.head+1)%maxOutstanding, q.len-1
	}
	q.len++
	*q.entry(q.len - 1) = outstanding{v, 1, at}
	return dropped
}

// pop takes one command off the front.
func (q *queue) pop() {
	e := q.entry(0)
	if e.n--; e.n == 0 {
		q.head, q.len = (q.head+1)%maxOutstanding, q.len-1
	}
}

// first is the oldest outstanding command, other where there is none.
func (q *queue) first() (outstanding, bool) {
	if q.len == 0 {
		return outstanding{}, false
	}
	return *q.entry(0), true
}

// find is the index of the first run of v, -1 if there is none.
func (q *queue) find(v verb) int {
	for i := range q.len {
		if q.entry(i).verb == v {
			return i
		}
	}
	return -1
}

// skip drops the first n runs and counts the message ends among them.
func (q *queue) skip(n int) (finals int) {
	for range n {
		if q.entry(0).verb.final() {
			finals++
		}
		q.head, q.len = (q.head+1)%maxOutstanding, q.len-1
	}
	return finals
}

// finals counts the message ends that wait for a reply.
func (q *queue) finals() (n int) {
	for i := range q.len {
		if q.entry(i).verb.final() {
			n++
		}
	}
	return n
}

// chunks reports whether a BDAT waits for its reply.
func (q *queue) chunks() bool { return q.find(bdat) >= 0 || q.find(bdatLast) >= 0 }
