package crossing

import (
	"fmt"
	"io"
	"strings"
)

// corpus writes the sessions that came to speak inside TLS, a line each, as nfq/session/testdata/corpus.txt.gz has them: the class, the
// client's program, the server's, the version of TLS, how many messages were taken, the case, and a session.Recording; tabs between.
func corpus(w io.Writer, truth []Session, flows []Flow) error {
	for _, s := range truth {
		r := &flows[s.flow].Recording
		if !r.Sealed() {
			continue
		}
		text, err := r.MarshalText()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, strings.Join([]string{s.label(), s.Client, s.Server, s.TLS, fmt.Sprint(s.Messages), s.Case.String(), string(text)}, "\t")); err != nil {
			return err
		}
	}
	return nil
}

// label is the class, and its own one for what is hard to tell from messages.
func (s *Session) label() string {
	if s.Case.Kind == Attempts {
		return string(Attempts)
	}
	return s.class().String()
}

func (c class) String() string {
	return [...]string{brings: "brings", empty: "empty", refusedC: "refused", burst: "burst"}[c]
}
