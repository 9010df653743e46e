// Package ruleset writes mailweir's nftables table: which packets are queued,
// which pass in the kernel, and who is cut.
//
// # The way of a packet
//
// The table is "inet mailweir". All chains but one sit in prerouting:
//
//	-300  cut    a SYN from the sets cut4/cut6 (IPv6 by /64) to a limited port gets a reset
//	-200         (conntrack)
//	-150  steer  governed ports only: running sessions of who is cut get resets; released flows, pure ACKs and what conntrack calls invalid pass, the rest is queued
//	-140  apply  a mark in the verdict becomes the connection's state; Cut gets a reset
//	-100  defer  a mark Deferred on a SYN redirects the connection to the responder
//	 -90  clean  our bits are taken out of the packet's mark
//
// and "responder" (input, 0) drops what comes to the responder's port without
// having been deferred.
//
// A packet is governed when it comes from a subscriber interface to a governed
// port, or from a governed port on a connection that bears our mark. So nothing
// that subscribers serve themselves is looked at, and answers come to us on
// whatever interface they arrive.
//
// # The fast lane
//
// A packet that bears Marks.Fast when it arrives (package lane puts it there) passes
// every chain at once. With Options.Untracked conntrack does not see it either: it is
// dear, and its table is shared by all. That is only for a box on which nobody else has
// rules that ask conntrack, or translates addresses (Foreign): what is untracked is
// neither established nor invalid to them. A session that is handed over to the queue in
// its middle bears the mark See on every packet, until a verdict has given its
// connection one.
//
// # Marks
//
// A verdict cannot set a conntrack mark on every kernel (without
// CONFIG_NETFILTER_NETLINK_GLUE_CT it is ignored without an error), but it can
// set the packet's mark everywhere. Chain apply copies it, at a later priority
// of the same hook because a verdict skips the rest of its own chain. Put a mark
// on a verdict only when the state changes; later packets are then judged by
// the connection's mark. Deferred works on the packet that makes the connection
// (its SYN): addresses are chosen once. A connection with that mark that was not
// redirected stays in the queue.
//
// # Copies
//
// Inside TLS the server's packets are to be seen, and none of them decides anything: with
// Options.Copies those of a connection in state Copied pass, and a copy of each goes to an NFLOG
// group, at a fraction of what the way through the queue costs. SYN, FIN and RST still take that way.
//
// # On a bridge
//
// With Options.Bridge the subscriber interfaces are ports of a bridge, and br_netfilter
// shows its packets to the same chains, as if they had come by the bridge. Chain "ports" of
// the table "bridge mailweir" comes before all of them:
//
//	-1  ports  marks what a subscriber port brings: Marks.Up, Marks.UpSee
//
// What has a VLAN tag or a PPPoE header bears no mark and passes. Deferred sessions
// are led to an address that is given (package bridge), since the bridge may have none.
// Everything that is no mail goes out of conntrack, unless somebody else asks that.
//
// # What must hold around us
//
// Nobody else translates the source address of governed connections on this box:
// answers would be seen with the translated address. The subscriber interface
// needs an address of each family for its connections to be redirected (IPv6:
// link-local will do); without one the kernel drops the SYN of a deferred session.
// An operator's own input filter must let the responder's port in.
//
// # What the kernel does when a hook goes
//
// When a chain with a hook is deleted, the kernel drops every packet that waits in
// any queue of the network namespace; verdicts on them are answered with ENOENT.
// So Probe hooks nothing in, Apply keeps the chains when it can, Disarm always
// does, and a clean stop calls Disarm, gives the last verdicts, then Remove.
package ruleset

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// TableName is our table's; its family is inet.
const TableName = "mailweir"

// CopyGroup is the NFLOG group that gets the copies (Options.Copies). One mailweir runs in
// a network namespace, and others number theirs from 0 on.
const CopyGroup = 28025

// Options is what the table depends on.
type Options struct {
	Marks
	SubscriberIfs          []string // interfaces behind which the subscribers are; they need not exist yet
	Ports                  []uint16 // governed TCP ports of the servers
	LimitedPorts           []uint16 // those of Ports that a Cut is about, the others are only counted; empty: all
	QueueFirst, QueueCount uint16   // NFQUEUE numbers QueueFirst .. QueueFirst+QueueCount-1
	FailOpen               bool     // a queue without a reader lets packets pass
	ResponderPort          uint16   // local port that answers deferred sessions; 0: no defer rules
	Lane                   bool     // packets with Marks.Fast pass
	Untracked              bool     // and conntrack does not see them
	Bridge                 *Bridge  // nil: the box routes
	Copies                 bool     // what servers say in sessions of state Copied passes, with a copy to the NFLOG group CopyGroup; else it is queued
}

// Validate says what cannot work in o.
func (o Options) Validate() error {
	if err := o.Marks.Validate(); err != nil {
		return err
	}
	if err := o.Bridge.validate(); err != nil {
		return err
	}
	if len(o.SubscriberIfs) == 0 {
		return errors.New("no subscriber interface")
	}
	for _, name := range o.SubscriberIfs {
		if len(name) == 0 || len(name) >= unix.IFNAMSIZ {
			return fmt.Errorf("subscriber interface %q: 1 to %d bytes", name, unix.IFNAMSIZ-1)
		}
	}
	if len(o.Ports) == 0 {
		return errors.New("no governed port")
	}
	for _, port := range o.Ports {
		if port == 0 {
			return errors.New("governed port 0: 1 to 65535")
		}
		if port == o.ResponderPort {
			return fmt.Errorf("port %d cannot be both governed and the responder's", port)
		}
	}
	for _, port := range o.LimitedPorts {
		if !slices.Contains(o.Ports, port) {
			return fmt.Errorf("limited port %d is not a governed one", port)
		}
	}
	if o.QueueCount == 0 || int(o.QueueFirst)+int(o.QueueCount) > 1<<16 {
		return fmt.Errorf("%d queues from %d on: at least one, numbers up to 65535", o.QueueCount, o.QueueFirst)
	}
	return nil
}

func (o Options) limited() []uint16 {
	if len(o.LimitedPorts) == 0 {
		return o.Ports
	}
	return o.LimitedPorts
}

// Ruleset is our table in the kernel, in the network namespace of the thread
// that called Apply; when its connection to the kernel failed, the next call opens
// one in the namespace of its own thread. Safe for concurrent use.
type Ruleset struct {
	table   *nftables.Table
	chains  []string // of table
	bridged bool     // there is a table of family bridge, too

	mu   sync.Mutex
	conn *conn // nil after a failure; guarded by mu
}

func ourTable() *nftables.Table {
	return &nftables.Table{Name: TableName, Family: nftables.TableFamilyINet}
}

// Apply writes the table in one transaction: a packet meets either what was
// there before or the new, in every chain. It may be called at any time and
// repeatedly. The new table cuts nobody, so call Cut again for whom is still cut, and
// its counters start at zero; marks of running connections stay.
//
// When our chains are already there, in the shape that they shall have, only what
// is in them is replaced and packets waiting in the queues stay there. Otherwise
// (another version's table, one made dormant, ...) the old table goes with its
// hooks, and the kernel then drops whatever the queues hold.
func Apply(o Options, k Kernel) (*Ruleset, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("apply table %s: %w", TableName, err)
	}
	if k.QueueForm != QueueExpression && k.QueueForm != QueueXT {
		return nil, fmt.Errorf("apply table %s: queue form %q: not one of Probe's", TableName, k.QueueForm)
	}
	c, err := dial()
	if err != nil {
		return nil, fmt.Errorf("apply table %s: %w", TableName, err)
	}
	if err := write(o, k); err != nil {
		c.close()
		return nil, fmt.Errorf("apply table %s: %w", TableName, err)
	}
	r := &Ruleset{table: ourTable(), bridged: o.Bridge != nil, conn: c}
	for _, ch := range design(o, k) {
		r.chains = append(r.chains, ch.name)
	}
	return r, nil
}

// write has a socket of its own: the kernel echoes the rules on it, and what
// was not read of that would be taken for the answer to something else.
func write(o Options, k Kernel) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	t := ourTable()
	chains := design(o, k)
	now, err := c.inventory(t)
	if err != nil {
		return err
	}
	keep := now.matches(chains)
	if keep {
		c.FlushTable(t)
		for _, s := range now.sets {
			c.DelSet(s)
		}
		for _, o := range now.objects {
			c.DeleteObject(o)
		}
	} else {
		if now.table != nil {
			c.DelTable(t)
		}
		c.AddTable(t)
	}
	for _, name := range counterNames {
		c.AddObj(&nftables.CounterObj{Table: t, Name: name})
	}
	for _, s := range sets(t, o) {
		if err := c.AddSet(s.Set, s.elements); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	if !keep {
		for _, ch := range chains {
			c.AddChain(ch.nft(t))
		}
	}
	for _, ch := range chains {
		for _, r := range ch.rules {
			c.AddRule(r.nft(t, ch.name))
		}
	}
	if err := c.writeBridge(o); err != nil {
		return err
	}
	return c.flush()
}

func (ch chain) nft(t *nftables.Table) *nftables.Chain {
	if ch.hook == nil {
		return &nftables.Chain{Table: t, Name: ch.name}
	}
	policy := nftables.ChainPolicyAccept
	return &nftables.Chain{Table: t, Name: ch.name, Hooknum: ch.hook, Priority: &ch.priority, Type: ch.kind, Policy: &policy}
}

func (r rule) nft(t *nftables.Table, chain string) *nftables.Rule {
	n := &nftables.Rule{Table: t, Chain: &nftables.Chain{Name: chain}, Exprs: r.exprs}
	if r.why != "" {
		n.UserData = userdata.AppendString(nil, userdata.TypeComment, r.why)
	}
	return n
}

// chainTrack has the one rule that Disarm leaves. With the last rule of a network
// namespace that asks conntrack, the kernel takes conntrack's hooks away
// (nf_ct_netns_put), and with any hook it drops what waits in the queues
// (nf_queue_nf_hook_drop).
const chainTrack = "track"

// Disarm takes all rules that a packet can meet out in one transaction, so that nothing is
// steered, cut or deferred any more, and leaves the chains. Packets that wait in a queue
// stay there for their verdicts. It is the first step of a clean stop; Remove,
// which makes the kernel drop what is still queued, is the last.
func (r *Ruleset) Disarm() error {
	err := r.do(func(c *conn) error {
		for _, name := range r.chains {
			if name != chainTrack {
				c.FlushChain(&nftables.Chain{Table: r.table, Name: name})
			}
		}
		if r.bridged {
			c.FlushTable(bridgeTable())
		}
		return c.flush()
	})
	if err != nil {
		return fmt.Errorf("disarm table %s: %w", TableName, err)
	}
	return nil
}

// Remove deletes the table, also one of an earlier life; it is no error when
// there is none. Packets still queued are dropped by the kernel.
func Remove() error {
	if err := remove(ourTable()); err != nil {
		return fmt.Errorf("remove table %s: %w", TableName, err)
	}
	if err := remove(bridgeTable()); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("remove table %s of family bridge: %w", TableName, err)
	}
	return nil
}

func remove(t *nftables.Table) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	c.DelTable(t)
	if err := c.flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// Steering says whether the table is there with the rules that steer packets into
// the queue: somebody may have taken them out and left the table. With Options.Bridge
// that of family bridge has to be there, too.
func Steering(bridged bool) (bool, error) {
	c, err := dial()
	if err != nil {
		return false, fmt.Errorf("look for the rules of table %s: %w", TableName, err)
	}
	defer c.close()
	now, err := c.inventory(ourTable())
	if err != nil {
		return false, fmt.Errorf("look for the rules of table %s: %w", TableName, err)
	}
	if now.table == nil {
		return false, nil
	}
	type where struct {
		table *nftables.Table
		chain string
	}
	look := []where{{ourTable(), "steer"}, {ourTable(), "up"}}
	if bridged {
		look = append(look, where{bridgeTable(), bridgeChain().name})
	}
	for _, w := range look {
		rules, err := c.GetRules(w.table, &nftables.Chain{Name: w.chain})
		if errors.Is(err, unix.ENOENT) || err == nil && len(rules) == 0 {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look for the rules of table %s: %w", TableName, err)
		}
	}
	return true, nil
}
