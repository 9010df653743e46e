package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// rig is the network: clients with every subscriber's address, the box, a server that takes every connection, a NAS.
type rig struct {
	*lab.Lab
	clients, server, nas lab.Line
	to                   netip.AddrPort
}

func newRig(ctx context.Context, dir string) (_ *rig, err error) {
	l, err := lab.Start(ctx, lab.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	r := &rig{Lab: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	for _, host := range []struct {
		name string
		side lab.Side
		to   *lab.Line
	}{{"clients", lab.Subscribers, &r.clients}, {"server", lab.Internet, &r.server}, {"nas", lab.Management, &r.nas}} {
		if *host.to, err = l.AddHost(host.name, host.side); err != nil {
			return nil, err
		}
	}
	// The clients' machine answers to all addresses, and the box finds them there.
	for _, step := range []struct {
		ns   *lab.Namespace
		args []string
	}{
		{r.clients.Namespace, []string{"route", "add", "local", allAddresses.String(), "dev", "lo"}},
		{l.Box, []string{"route", "add", allAddresses.String(), "via", r.clients.IPv4.String()}},
	} {
		if out, err := step.ns.Command(ctx, "ip", step.args...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ip %s: %w: %s", strings.Join(step.args, " "), err, out)
		}
	}
	r.to = netip.AddrPortFrom(r.server.IPv4, 25)
	lis, err := r.server.Namespace.Listen("tcp4", r.to.String())
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = lis.Close() })
	go func() { // ends with the context
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return r, nil
}

// box is one mailweir in the rig, with a copy of a data directory and of a list.
type box struct {
	*lab.Governor
	world *world
	dir   string
	list  string        // which one it has
	took  time.Duration // from its start until it was ready
	turn  int           // versions of the list taken so far
}

// startBox starts `SELF run`; more is configuration beside settings.
func (r *rig) startBox(ctx context.Context, w *world, self, data, list, more string) (*box, error) {
	dir, err := os.MkdirTemp(r.Dir, "box-")
	if err != nil {
		return nil, err
	}
	b := &box{world: w, dir: dir, list: list}
	err = errors.Join(
		w.copyData(data, filepath.Join(dir, "data")),
		os.WriteFile(filepath.Join(dir, "mailweir.yaml"), []byte(settings+more), 0o600),
		os.Link(filepath.Join(w.dir, "radius.secret"), filepath.Join(dir, "radius.secret")),
		b.nextList())
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	began := time.Now()
	if b.Governor, err = r.Govern(ctx, self, filepath.Join(dir, "mailweir.yaml"), filepath.Join(dir, "data")); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	b.took = time.Since(began)
	return b, nil
}

func (b *box) stop() error { return errors.Join(b.Stop(), os.RemoveAll(b.dir)) }

// nextList puts the other version of the list in its place, as a program does that writes a new one and renames it.
func (b *box) nextList() error {
	next := filepath.Join(b.dir, "next")
	if err := os.Link(b.world.list(b.list, b.turn%2), next); err != nil {
		return err
	}
	b.turn++
	return os.Rename(next, filepath.Join(b.dir, "subscribers.csv"))
}

// judged is how many packets have waited for a verdict since the start; of no box none.
func (b *box) judged(ctx context.Context) (int64, error) {
	if b == nil {
		return 0, nil
	}
	var st webadmin.Status
	err := b.Get(ctx, "/api/v1/status", &st)
	return st.Lanes.Queue.Packets, err
}

// pids are its process, and those that it has work for it, as who hashes passwords.
func (b *box) pids() []int {
	all := []int{b.PID()}
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", b.PID())) // proc(5); a thread may end meanwhile
	for _, file := range children {
		text, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				all = append(all, pid)
			}
		}
	}
	return all
}

// memory is what the box has in memory now and had at most, in bytes: the sum of its processes, each by itself.
func (b *box) memory() (now, most float64, err error) {
	for _, pid := range b.pids() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			to := map[string]*float64{"VmRSS": &now, "VmHWM": &most}[name]
			if to == nil {
				continue
			}
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			if err != nil {
				return 0, 0, fmt.Errorf("memory of the box: %w", err)
			}
			*to += kib * 1024
		}
	}
	return now, most, nil
}
