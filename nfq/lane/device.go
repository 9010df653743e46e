package lane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// device is an interface with its part.
type device struct {
	name       string
	index      int
	subscriber bool
	crossing   bool // servers may be behind it as well: a bridge's subscriber port beside others
	ethernet   bool // its packets begin with an Ethernet header
}

// programs are the names of the programs for such an interface.
func (d device) programs() []string {
	all := []string{d.program()}
	if d.crossing {
		d.subscriber = false
		all = append(all, d.program())
	}
	return all
}

func (d device) program() string {
	switch {
	case d.subscriber && d.ethernet:
		return programProgSubscriberEth
	case d.subscriber:
		return programProgSubscriberIp
	case d.ethernet:
		return programProgUpstreamEth
	}
	return programProgUpstreamIp
}

// devices looks interfaces up in the calling thread's network namespace; sysfs would
// answer for another one. There must be one of each side.
func devices(subscribers, upstream []string) (all []device, missing []string, err error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	defer c.Close()
	seen := make(map[string]bool)
	sides := map[bool]int{}
	for i, name := range slices.Concat(subscribers, upstream) {
		if len(name) == 0 || len(name) >= unix.IFNAMSIZ {
			return nil, nil, fmt.Errorf("interface %q: 1 to %d bytes", name, unix.IFNAMSIZ-1)
		}
		if seen[name] {
			return nil, nil, fmt.Errorf("interface %s is listed twice", name)
		}
		seen[name] = true
		d, _, err := lookup(c, name)
		if errors.Is(err, errNoDevice) {
			missing = append(missing, name)
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("interface %s: %w", name, err)
		}
		d.subscriber = i < len(subscribers)
		sides[d.subscriber]++
		all = append(all, d)
	}
	if sides[true] == 0 || sides[false] == 0 {
		return nil, missing, fmt.Errorf("%w; not there: %v", errOneSided, missing)
	}
	return all, missing, nil
}

var (
	errNoDevice = errors.New("there is none")
	errOneSided = errors.New("at least one interface of each side is needed")
)

// cross says of a bridge's subscriber ports that servers may be behind them, if there is
// another one behind which their clients are.
func cross(ifs []device) {
	n := 0
	for _, d := range ifs {
		if d.subscriber {
			n++
		}
	}
	for i := range ifs {
		ifs[i].crossing = ifs[i].subscriber && n > 1
	}
}

// lookup finds an interface, and what bridge, bond or VRF it is part of (0: none).
func lookup(c *netlink.Conn, name string) (d device, master uint32, err error) {
	e := netlink.NewAttributeEncoder()
	e.String(unix.IFLA_IFNAME, name)
	attrs, err := e.Encode()
	if err != nil {
		return device{}, 0, err
	}
	answers, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   append(make([]byte, unix.SizeofIfInfomsg), attrs...),
	})
	if errors.Is(err, unix.ENODEV) {
		return device{}, 0, errNoDevice
	}
	if err != nil {
		return device{}, 0, fmt.Errorf("look it up: %w", err)
	}
	if len(answers) == 0 || len(answers[0].Data) < unix.SizeofIfInfomsg {
		return device{}, 0, errors.New("look it up: the kernel's answer is too short")
	}
	info := answers[0].Data // family, pad, type, index
	d = device{name: name, index: int(binary.NativeEndian.Uint32(info[4:]))}
	switch kind := binary.NativeEndian.Uint16(info[2:]); kind {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		d.ethernet = true
	case unix.ARPHRD_NONE, unix.ARPHRD_PPP, unix.ARPHRD_RAWIP, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6, unix.ARPHRD_SIT, unix.ARPHRD_IPGRE:
		// the IP header comes first
	default:
		return device{}, 0, fmt.Errorf("link type %d is not supported: Ethernet, PPP and tunnels of IP are", kind)
	}
	more, err := netlink.NewAttributeDecoder(info[unix.SizeofIfInfomsg:])
	if err != nil {
		return device{}, 0, fmt.Errorf("look it up: %w", err)
	}
	for more.Next() {
		if more.Type() == unix.IFLA_MASTER {
			master = more.Uint32()
		}
	}
	return d, master, more.Err()
}
