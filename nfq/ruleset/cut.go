package ruleset

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
)

// Cut answers everything from addr (IPv6: from its /64) to the limited ports,
// and the answers to it, with a reset for the next d, to a tick of the kernel. Who
// connects to addr from such a port is not meant. A
// second Cut of the same address replaces the time of the first. New sessions
// are refused at once; of a running one each end learns with its next packet.
//
// The error satisfies errors.Is(err, fs.ErrNotExist) when the table is gone.
func (r *Ruleset) Cut(addr netip.Addr, d time.Duration) error {
	if !addr.IsValid() || d < time.Millisecond {
		return fmt.Errorf("cut %s for %s: a valid address and at least 1ms", addr, d)
	}
	set, element := r.cutElement(addr, d)
	err := r.do(func(c *conn) error {
		// Adding what is there already is no error but changes nothing, and
		// deleting what is not there is one: hence add, delete, add.
		if err := c.SetAddElements(set, element); err != nil {
			return err
		}
		if err := c.SetDeleteElements(set, element); err != nil {
			return err
		}
		if err := c.SetAddElements(set, element); err != nil {
			return err
		}
		return c.flush()
	})
	if err != nil {
		return fmt.Errorf("cut %s: %w", addr, err)
	}
	return nil
}

// Uncut ends a Cut early; it is no error when there is none.
func (r *Ruleset) Uncut(addr netip.Addr) error {
	if !addr.IsValid() {
		return fmt.Errorf("uncut %s: a valid address", addr)
	}
	set, element := r.cutElement(addr, time.Minute)
	err := r.do(func(c *conn) error {
		if err := c.SetAddElements(set, element); err != nil {
			return err
		}
		if err := c.SetDeleteElements(set, element); err != nil {
			return err
		}
		return c.flush()
	})
	if err != nil {
		return fmt.Errorf("uncut %s: %w", addr, err)
	}
	return nil
}

// UncutAll ends every Cut.
func (r *Ruleset) UncutAll() error {
	err := r.do(func(c *conn) error {
		c.FlushSet(cutSet(r.table, setCut4))
		c.FlushSet(cutSet(r.table, setCut6))
		return c.flush()
	})
	if err != nil {
		return fmt.Errorf("uncut all: %w", err)
	}
	return nil
}

func (r *Ruleset) cutElement(addr netip.Addr, d time.Duration) (*nftables.Set, []nftables.SetElement) {
	name, key := cutKey(addr)
	return cutSet(r.table, name), []nftables.SetElement{{Key: key, Timeout: d}}
}
