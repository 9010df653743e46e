package ruleset

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// netlinkTimeout bounds one conversation with the kernel, which answers in
// milliseconds. google/nftables waits for one answer per message and would wait
// for ever when the kernel gives a single error for a whole batch.
const netlinkTimeout = 10 * time.Second

// conn is one netlink socket. It stays with the network namespace of the thread
// that dialled it. Not safe for concurrent use.
type conn struct {
	*nftables.Conn
	socket *netlink.Conn
}

func dial() (*conn, error) {
	c := &conn{}
	nft, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(s *netlink.Conn) error {
		c.socket = s
		return c.extend()
	}))
	if err != nil {
		return nil, fmt.Errorf("open nftables socket: %w", err)
	}
	c.Conn = nft
	return c, nil
}

func (c *conn) extend() error { return c.socket.SetDeadline(time.Now().Add(netlinkTimeout)) }

func (c *conn) close() { _ = c.CloseLasting() } // nothing was buffered: nothing to lose

func (c *conn) flush() error { return explain(c.Flush()) }

// explain adds what the operator can do about the one error that does not say.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("CAP_NET_ADMIN is missing, or the table belongs to another process: %w", err)
	}
	return err
}

// inventory is what the kernel has under a table's name.
type inventory struct {
	table   *nftables.Table // nil: nothing
	chains  []*nftables.Chain
	sets    []*nftables.Set
	objects []nftables.Obj // counters, and what others may have put there
}

func (c *conn) inventory(t *nftables.Table) (inventory, error) {
	var now inventory
	tables, err := c.ListTablesOfFamily(t.Family)
	if err != nil {
		return now, fmt.Errorf("list tables: %w", explain(err))
	}
	for _, have := range tables {
		if have.Name == t.Name {
			now.table = have
		}
	}
	if now.table == nil {
		return now, nil
	}
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return now, fmt.Errorf("list chains: %w", err)
	}
	for _, ch := range chains {
		if ch.Table.Name == t.Name {
			now.chains = append(now.chains, ch)
		}
	}
	if now.sets, err = c.GetSets(t); err != nil {
		return now, fmt.Errorf("list sets: %w", err)
	}
	if now.objects, err = c.GetNamedObjects(t); err != nil {
		return now, fmt.Errorf("list objects: %w", err)
	}
	return now, nil
}

// matches says whether the table has exactly these chains and nothing that
// makes it other than a plain table.
func (now inventory) matches(want []chain) bool {
	if now.table == nil || now.table.Flags != 0 || len(now.chains) != len(want) {
		return false
	}
	byName := make(map[string]*nftables.Chain)
	for _, ch := range now.chains {
		byName[ch.Name] = ch
	}
	for _, w := range want {
		have := byName[w.name]
		switch {
		case have == nil:
			return false
		case w.hook == nil:
			if have.Hooknum != nil {
				return false
			}
		case have.Hooknum == nil || *have.Hooknum != *w.hook || *have.Priority != w.priority || have.Type != w.kind ||
			have.Policy == nil || *have.Policy != nftables.ChainPolicyAccept:
			return false
		}
	}
	return true
}

// do runs one conversation on the Ruleset's own socket. After an error answers
// may be left unread, so the socket is replaced by a new one.
func (r *Ruleset) do(talk func(*conn) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil {
		c, err := dial()
		if err != nil {
			return err
		}
		r.conn = c
	}
	err := r.conn.extend()
	if err == nil {
		err = talk(r.conn)
	}
	if err != nil {
		r.conn.close()
		r.conn = nil
	}
	return err
}

// Close ends the connection to the kernel; the table stays.
func (r *Ruleset) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil {
		return nil
	}
	err := r.conn.CloseLasting()
	r.conn = nil
	return err
}
