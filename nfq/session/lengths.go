package session

// What the lengths of commands and replies say. All costs are points: one more halves
// the plausibility, roughly.

// Bytes of plaintext, CRLF included.
const (
	shortestReply = 5 // "250"
	usualReply    = 8 // "250 OK"
	fourLetters   = 6 // DATA, QUIT, RSET, NOOP, HELP
	mailLeast     = 14
	rcptLeast     = 13
	bdatLeast     = 13 // "BDAT 1 LAST"
	bdatUsual     = 18
	leastChunk    = 200 // with its content, as a rule
	askedMost     = 64  // of a command such as VRFY, with an address
	plainRcpt     = 30  // with an address as most are
	surelyContent = 500 // and more: seldom a command
	surelyNoRcpt  = 650 // and more: seldom one, even with DSN parameters (RFC 3461), that is answered with an address as short as a final reply
	leastMore     = 12  // that 354 has beyond an answer to MAIL, if it is to be known by that
)

// grade is a line of a table: up to so many bytes it costs so much.
type grade struct{ upTo, cost int32 }

const most = 1<<31 - 1

func graded(n int64, table []grade) int32 {
	for _, g := range table {
		if n <= int64(g.upTo) {
			return g.cost
		}
	}
	return never
}

// How long commands, and what else a client says, are.
var (
	mailSize    = []grade{{mailLeast - 1, never}, {90, 0}, {130, 1}, {200, 3}, {300, 6}, {520, 9}, {1000, 12}, {most, 20}}
	rcptSize    = []grade{{rcptLeast - 1, never}, {70, 0}, {110, 1}, {160, 3}, {260, 6}, {520, 9}, {1000, 12}, {most, 20}}
	otherSize   = []grade{{5, never}, {60, 6}, {120, 8}, {300, 11}, {600, 15}, {most, 20}}
	ehloSize    = []grade{{7, never}, {80, 5}, {270, 8}, {most, never}}
	helloSize   = []grade{{7, never}, {60, 0}, {120, 3}, {300, 6}, {600, 9}, {most, 12}} // the first EHLO
	authSize    = []grade{{9, never}, {400, 4}, {3000, 7}, {20000, 12}, {most, never}}
	tokenSize   = []grade{{1, never}, {120, 0}, {400, 2}, {3000, 8}, {20000, 12}, {most, never}}
	contentSize = []grade{{2, never}, {12, 24}, {30, 14}, {64, 10}, {99, 5}, {150, 2}, {250, 1}, {most, 0}}
	chunkSizes  = []grade{{8, never}, {60, 9}, {200, 5}, {1000, 1}, {most, 0}}
)

// How many RCPT there are in a group: a server takes 100 for sure (RFC 5321, section 4.5.3.1.8), and few clients send more.
var manyRcpts = []grade{{50, 0}, {100, 2}, {most, 10}}

// How long replies are that are seen for the first time in a session.
var (
	mailReply  = []grade{{7, 7}, {80, 5}, {150, 6}, {300, 8}, {600, 12}, {most, 16}}
	rcptReply  = []grade{{7, 7}, {80, 5}, {150, 6}, {300, 8}, {600, 12}, {most, 16}}
	dataReply  = []grade{{7, 8}, {13, 7}, {90, 5}, {200, 8}, {most, 14}}
	finalReply = []grade{{7, 7}, {200, 5}, {300, 7}, {600, 10}, {most, 16}}
	chunkReply = []grade{{7, 7}, {120, 5}, {300, 8}, {most, 14}}
	quitReply  = []grade{{7, 6}, {120, 5}, {300, 8}, {most, 14}}
	rsetReply  = []grade{{7, 5}, {60, 3}, {120, 5}, {300, 8}, {most, 14}}
	nothingNew = []grade{{most, 0}}
	anyReply   = []grade{{7, 7}, {300, 5}, {2000, 6}, {most, 10}}
)

// kind is the lengths of the last two different replies to commands of one kind, 0 for none yet: in
// a session most are alike, and those that refuse are alike, too.
type kind struct{ last, other uint16 }

// echo is by how much such replies are longer than the command, where they repeat its address.
type echo struct{ last, other int16 }

// hear is the cost of a reply of n bytes, and notes it. sharp is within how many bytes a length is known.
func (k *kind) hear(n, sharp int, first []grade) (cost int32) {
	l := length(n)
	switch d := max(distance(n, k.last)-sharp, 0); {
	case k.last == 0:
		cost = graded(int64(n), first)
	case l == k.last:
		return 0
	case l == k.other:
		cost = 1
		k.other = k.last
	case d <= 4:
		cost = 1
	case d <= 12:
		cost = 2
		k.other = k.last
	default:
		cost = 6
		k.other = k.last
	}
	k.last = l
	return cost
}

func distance(n int, before uint16) int {
	d := n - int(before)
	if d < 0 {
		return -d
	}
	return d
}

// length fits a length into what a guess keeps.
func length(n int) uint16 { return uint16(min(max(n, 0), 1<<16-1)) }

// sum adds costs.
func sum(costs ...int32) (all int32) {
	for _, c := range costs {
		if c >= never {
			return never
		}
		all += c
	}
	return all
}
