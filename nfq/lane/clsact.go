package lane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Our filters are known by their name; priority and handles are fixed, so that a second one
// takes the place of the first. An interface with two programs has two, of which the
// kernel asks one after the other. Filters of others with a lower number come before it.
const (
	filterName     = "mailweir"
	filterPriority = 0x6d77
	filterHandle   = 1 // of the first program, the next one has the next
	maxFilters     = 2
)

// From linux/pkt_sched.h, pkt_cls.h and rtnetlink.h.
const (
	parentClsact  = 0xfffffff1
	parentIngress = 0xfffffff2
	parentEgress  = 0xfffffff3
	handleClsact  = 0xffff0000

	tcaKind    = 1
	tcaOptions = 2

	tcaBPFFD     = 6
	tcaBPFName   = 7
	tcaBPFFlags  = 8
	tcaBPFID     = 11
	actDirect    = 1
	tcMessage    = 20     // struct tcmsg
	protocolsAll = 0x0300 // ETH_P_ALL in network order, on a little-endian processor
)

// tc speaks rtnetlink's language of queueing disciplines and filters.
type tc struct{ conn *netlink.Conn }

func dialTC() (*tc, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return &tc{c}, nil
}

func (c *tc) close() error { return c.conn.Close() }

// filter is what we have to know of one.
type filter struct {
	priority uint16
	handle   uint32
	name     string // of a bpf filter
	program  uint32 // its program's id
}

func (f filter) ours() bool { return f.name == filterName }

func header(d device, handle, parent, info uint32) []byte {
	b := make([]byte, tcMessage)
	binary.NativeEndian.PutUint32(b[4:], uint32(d.index))
	binary.NativeEndian.PutUint32(b[8:], handle)
	binary.NativeEndian.PutUint32(b[12:], parent)
	binary.NativeEndian.PutUint32(b[16:], info)
	return b
}

func (c *tc) do(kind netlink.HeaderType, flags netlink.HeaderFlags, head []byte, attrs func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	e := netlink.NewAttributeEncoder()
	if attrs != nil {
		attrs(e)
	}
	b, err := e.Encode()
	if err != nil {
		return nil, err
	}
	return c.conn.Execute(netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request | flags}, Data: append(head, b...)})
}

// filters lists those of one direction.
func (c *tc) filters(d device, parent uint32) ([]filter, error) {
	answers, err := c.do(unix.RTM_GETTFILTER, netlink.Dump, header(d, 0, parent, 0), nil)
	if err != nil {
		return nil, fmt.Errorf("list the filters of interface %s: %w", d.name, err)
	}
	var all []filter
	for _, m := range answers {
		if len(m.Data) < tcMessage {
			continue
		}
		f := filter{
			handle:   binary.NativeEndian.Uint32(m.Data[8:]),
			priority: uint16(binary.NativeEndian.Uint32(m.Data[16:]) >> 16),
		}
		attrs, err := netlink.NewAttributeDecoder(m.Data[tcMessage:])
		if err != nil {
			return nil, fmt.Errorf("list the filters of interface %s: %w", d.name, err)
		}
		kind := ""
		for attrs.Next() {
			switch attrs.Type() {
			case tcaKind:
				kind = attrs.String()
			case tcaOptions:
				attrs.Nested(func(o *netlink.AttributeDecoder) error {
					for o.Next() {
						switch {
						case kind != "bpf":
						case o.Type() == tcaBPFName:
							f.name = o.String()
						case o.Type() == tcaBPFID:
							f.program = o.Uint32()
						}
					}
					return nil
				})
			}
		}
		if err := attrs.Err(); err != nil {
			return nil, fmt.Errorf("list the filters of interface %s: %w", d.name, err)
		}
		all = append(all, f)
	}
	return all, nil
}

// addQdisc makes clsact, unless something is there that filters can be put to.
func (c *tc) addQdisc(d device) (made bool, err error) {
	_, err = c.do(unix.RTM_NEWQDISC, netlink.Acknowledge|netlink.Create|netlink.Excl, header(d, handleClsact, parentClsact, 0),
		func(e *netlink.AttributeEncoder) { e.String(tcaKind, "clsact") })
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, fmt.Errorf("this kernel has no clsact (CONFIG_NET_SCH_INGRESS): %w", err)
	}
	if err != nil {
		return false, fmt.Errorf("make clsact at interface %s: %w", d.name, err)
	}
	return true, nil
}

func (c *tc) removeQdisc(d device) error {
	_, err := c.do(unix.RTM_DELQDISC, netlink.Acknowledge, header(d, handleClsact, parentClsact, 0), nil)
	return err
}

// addFilter puts the program in place, or in the place of an earlier one of ours.
func (c *tc) addFilter(d device, handle uint32, p *ebpf.Program) error {
	all, err := c.filters(d, parentIngress)
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.priority == filterPriority && f.handle != 0 && !f.ours() {
			return fmt.Errorf("interface %s has a filter of somebody else's with priority %d, which is ours", d.name, filterPriority)
		}
	}
	_, err = c.do(unix.RTM_NEWTFILTER, netlink.Acknowledge|netlink.Create, header(d, handle, parentIngress, filterPriority<<16|protocolsAll),
		func(e *netlink.AttributeEncoder) {
			e.String(tcaKind, "bpf")
			e.Nested(tcaOptions, func(o *netlink.AttributeEncoder) error {
				o.Uint32(tcaBPFFD, uint32(p.FD()))
				o.String(tcaBPFName, filterName)
				o.Uint32(tcaBPFFlags, actDirect)
				return nil
			})
		})
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("this kernel has no bpf filters (CONFIG_NET_CLS_BPF): %w", err)
	}
	if err != nil {
		return fmt.Errorf("put the filter to interface %s: %w", d.name, err)
	}
	return nil
}

func (c *tc) removeFilter(d device, handle uint32) error {
	_, err := c.do(unix.RTM_DELTFILTER, netlink.Acknowledge, header(d, handle, parentIngress, filterPriority<<16|protocolsAll),
		func(e *netlink.AttributeEncoder) { e.String(tcaKind, "bpf") })
	return err
}

// gone is what an interface or a filter answers that is not there any more.
func gone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL)
}

// sweep removes what a process left behind that was killed. The clsact it may have made
// stays: nobody can tell whose it is, and empty it does nothing.
func (c *tc) sweep(ifs []device) error {
	for _, d := range ifs {
		all, err := c.filters(d, parentIngress)
		if err != nil {
			return err
		}
		for _, f := range all {
			if !f.ours() || f.handle < filterHandle || f.handle >= filterHandle+maxFilters || f.priority != filterPriority {
				continue
			}
			if err := c.removeFilter(d, f.handle); err != nil {
				return fmt.Errorf("remove the filter left behind at interface %s: %w", d.name, err)
			}
		}
	}
	return nil
}

func attachClsact(c *tc, ifs []device, coll *ebpf.Collection) (holds []hold, err error) {
	for _, d := range ifs {
		made, err := c.addQdisc(d)
		if err == nil {
			err = c.addFilters(d, coll)
			if err != nil && made {
				err = errors.Join(err, c.removeQdisc(d))
			}
		}
		if err != nil {
			return nil, errors.Join(err, undo(holds))
		}
		holds = append(holds, hold{d, func() error { return c.leave(d, made) }, func() (bool, error) { return c.has(d, coll) }})
	}
	return holds, nil
}

// has reports whether our filters are at an interface, with these programs.
func (c *tc) has(d device, coll *ebpf.Collection) (bool, error) {
	all, err := c.filters(d, parentIngress)
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for i, name := range d.programs() {
		info, err := coll.Programs[name].Info()
		if err != nil {
			return false, err
		}
		id, _ := info.ID()
		if !slices.ContainsFunc(all, func(f filter) bool {
			return f.ours() && f.handle == filterHandle+uint32(i) && f.priority == filterPriority && f.program == uint32(id)
		}) {
			return false, nil
		}
	}
	return true, nil
}

// addFilters puts the interface's programs in place, or none.
func (c *tc) addFilters(d device, coll *ebpf.Collection) error {
	for i, name := range d.programs() {
		err := c.addFilter(d, filterHandle+uint32(i), coll.Programs[name])
		if err == nil {
			continue
		}
		for j := range i {
			err = errors.Join(err, c.removeFilter(d, filterHandle+uint32(j)))
		}
		return err
	}
	return nil
}

// leave removes our filters, and clsact if we made it and nobody else has come to use it.
func (c *tc) leave(d device, made bool) error {
	for i := range d.programs() {
		if err := c.removeFilter(d, filterHandle+uint32(i)); err != nil && !gone(err) {
			return fmt.Errorf("fast lane: remove the filter from interface %s: %w", d.name, err)
		}
	}
	if !made {
		return nil
	}
	for _, parent := range []uint32{parentIngress, parentEgress} {
		if left, err := c.filters(d, parent); err != nil || len(left) > 0 {
			if err != nil && !gone(err) {
				return fmt.Errorf("fast lane: %w", err)
			}
			return nil
		}
	}
	if err := c.removeQdisc(d); err != nil && !gone(err) {
		return fmt.Errorf("fast lane: remove clsact from interface %s: %w", d.name, err)
	}
	return nil
}
