package lab

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Taken is one session with a mail server as its own log has it.
type Taken struct {
	// From is the other end. OpenSMTPD does not log ports, then it is 0: its sessions are in the order they began.
	From       netip.AddrPort
	Messages   int // that it took responsibility for
	Recipients int // of those
}

// Taken is every session that others had with the server, in the order they began, those that brought nothing
// included.
func (s *MailServer) Taken() ([]Taken, error) {
	text, err := s.Log()
	if err != nil {
		return nil, err
	}
	return s.mta.taken(text), nil
}

// takings gathers sessions by a name that the log has for them.
type takings struct {
	all  []Taken
	open map[string]int // by name: the one of the sessions that goes by it now
}

func (t *takings) begin(name string, from netip.AddrPort) {
	if t.open == nil {
		t.open = map[string]int{}
	}
	t.open[name] = len(t.all)
	t.all = append(t.all, Taken{From: from})
}

func (t *takings) took(name string, recipients int) {
	if i, ok := t.open[name]; ok {
		t.all[i].Messages++
		t.all[i].Recipients += recipients
	}
}

var (
	postfixCame   = regexp.MustCompile(`/smtpd\[\d+\]: connect from \S*(\[[0-9a-f.:]+\]:\d+)$`)
	postfixBegan  = regexp.MustCompile(`/smtpd\[\d+\]: ([0-9A-Za-z]+): client=\S*(\[[0-9a-f.:]+\]:\d+)`)
	postfixQueued = regexp.MustCompile(`/qmgr\[\d+\]: ([0-9A-Za-z]+): from=<.*nrcpt=(\d+) \(queue active\)$`)
)

// taken joins the queue's word that it has a message with the session that began it. A message that was broken off or
// refused has begun as well, but never gets there. A message that is deferred comes to the queue again.
func (postfix) taken(log string) []Taken {
	var t takings
	began := map[string]string{} // other end by queue ID
	for line := range strings.SplitSeq(log, "\n") {
		if m := postfixCame.FindStringSubmatch(line); m != nil {
			if from, err := parseHostPort(m[1]); err == nil {
				t.begin(m[1], from)
			}
		} else if m := postfixBegan.FindStringSubmatch(line); m != nil {
			began[m[1]] = m[2]
		} else if m := postfixQueued.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[2]) // digits
			t.took(began[m[1]], n)
			delete(began, m[1])
		}
	}
	return t.all
}

var (
	eximCame = regexp.MustCompile(`^\S+ \S+ SMTP connection from (\[[0-9a-f.:]+\]:\d+) \(`)
	eximTook = regexp.MustCompile(`^\S+ \S+ \S+-\S+-\S+ <= .*? (\[[0-9a-f.:]+\]:\d+) P=\S*smtp.* for (.*)$`)
)

func (exim) taken(log string) []Taken {
	var t takings
	for line := range strings.SplitSeq(log, "\n") {
		if m := eximCame.FindStringSubmatch(line); m != nil {
			if from, err := parseHostPort(m[1]); err == nil {
				t.begin(m[1], from)
			}
		} else if m := eximTook.FindStringSubmatch(line); m != nil {
			t.took(m[1], len(strings.Fields(m[2])))
		}
	}
	return t.all
}

var (
	smtpdCame = regexp.MustCompile(`^(\S+) smtp connected address=(\S+) `)
	smtpdTook = regexp.MustCompile(`^(\S+) smtp message msgid=\S+ size=\d+ nrcpt=(\d+) `)
)

func (opensmtpd) taken(log string) []Taken {
	var t takings
	for line := range strings.SplitSeq(log, "\n") {
		if m := smtpdCame.FindStringSubmatch(line); m != nil {
			text, _ := strings.CutPrefix(strings.Trim(m[2], "[]"), "IPv6:")
			if from, err := netip.ParseAddr(text); err == nil {
				t.begin(m[1], netip.AddrPortFrom(from, 0))
			}
		} else if m := smtpdTook.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[2]) // digits
			t.took(m[1], n)
		}
	}
	return t.all
}
