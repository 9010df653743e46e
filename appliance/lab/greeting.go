package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// awaitGreeting waits until the mail server greets at both addresses.
func (s *MailServer) awaitGreeting(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := s.greets(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.inst.done:
			return errors.New("it ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *MailServer) greets(ctx context.Context) error {
	for _, a := range []netip.AddrPort{s.Address(false), s.Address(true)} {
		c, err := s.Namespace.Dial(ctx, a)
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		r := bufio.NewReader(c)
		line, err := r.ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "220") {
			err = fmt.Errorf("greeting %q", line)
		}
		if err == nil {
			_, err = io.WriteString(c, "QUIT\r\n")
			_, _ = r.ReadString('\n')
		}
		_ = c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// lastWords gathers what an instance said that did not start.
func (s *MailServer) lastWords() string {
	var b strings.Builder
	select {
	case <-s.inst.done:
		b.WriteString(s.inst.said.String())
	default:
	}
	for _, f := range []string{"console.log", s.mta.log()} {
		text, err := os.ReadFile(filepath.Join(s.dir, f))
		if err == nil {
			b.Write(text)
		}
	}
	return b.String()
}
