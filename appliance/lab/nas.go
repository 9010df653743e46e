package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
)

// NAS is an access concentrator on the management network: it tells the box by
// RADIUS accounting who has which address. It speaks with FreeRADIUS's
// radclient, Debian package freeradius-utils.
type NAS struct {
	Line
	dir string
}

// AddNAS puts one more NAS on the management network.
func (l *Lab) AddNAS(name string) (*NAS, error) {
	line, err := l.addLine(name, Management)
	if err != nil {
		return nil, err
	}
	return &NAS{Line: line, dir: l.Dir}, nil
}

// RADIUS is where a RADIUS server in the box is reached from the management
// network.
func (l *Lab) RADIUS(ipv6 bool) netip.AddrPort {
	if ipv6 {
		return netip.AddrPortFrom(boxMgmt6.Addr(), 1813)
	}
	return netip.AddrPortFrom(boxMgmt4.Addr(), 1813)
}

// ErrNoAnswer says that nobody answered a request, or not with the right
// authenticator. It was sent twice, the same bytes, a second apart.
var ErrNoAnswer = errors.New("no answer")

// Account sends one Accounting-Request with the attributes, each as radclient
// reads it ("User-Name = acct-1", "Acct-Status-Type = Start"), then a
// NAS-Identifier of its own, and returns once the answer is there and its
// authenticator is right.
func (n *NAS) Account(ctx context.Context, to netip.AddrPort, secret string, attributes ...string) error {
	return n.Line.account(ctx, n.dir, to, secret, attributes)
}

// Account is what a subscriber sends who plays the NAS.
func (l *Lab) Account(ctx context.Context, from Line, to netip.AddrPort, secret string, attributes ...string) error {
	return from.account(ctx, l.Dir, to, secret, attributes)
}

func (l Line) account(ctx context.Context, dir string, to netip.AddrPort, secret string, attributes []string) error {
	file, err := os.CreateTemp(dir, "radius-secret-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.WriteString(secret + "\n"); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := file.Close(); err != nil {
		return err
	}
	var said bytes.Buffer
	cmd := l.Namespace.Command(ctx, "radclient", "-S", file.Name(), "-r", "2", "-t", "1", to.String(), "acct")
	cmd.Stdin = strings.NewReader(strings.Join(attributes, "\n") + "\nNAS-Identifier = " + l.Name + "\n")
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); ok && strings.Contains(said.String(), "Sent Accounting-Request") {
		return fmt.Errorf("radclient of %s to %s: %w: %s", l.Name, to, ErrNoAnswer, bytes.TrimSpace(said.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("radclient of %s to %s: %w: %s", l.Name, to, err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}
