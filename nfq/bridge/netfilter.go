package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A setting is a file below /proc/sys/net, in the network namespace of who reads it.
type setting string

const (
	sysctlCall4 setting = "bridge/bridge-nf-call-iptables"
	sysctlCall6 setting = "bridge/bridge-nf-call-ip6tables"
	sysctlVLAN  setting = "bridge/bridge-nf-filter-vlan-tagged"
	sysctlPPPoE setting = "bridge/bridge-nf-filter-pppoe-tagged"
)

func conf4(device, key string) setting {
	return setting(filepath.Join("ipv4/conf", device, key))
}

func (s setting) path() string { return filepath.Join("/proc/sys/net", string(s)) }

func (s setting) read() (string, error) {
	text, err := os.ReadFile(s.path())
	return strings.TrimSpace(string(text)), err
}

func (s setting) number() (int, error) {
	text, err := s.read()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

func (s setting) write(v string) error { return os.WriteFile(s.path(), []byte(v), 0) }

// Attributes of a bridge: IFLA_BR_NF_CALL_IPTABLES and IFLA_BR_NF_CALL_IP6TABLES. They do
// for one bridge what the sysctls do for all, so that other bridges of the box stay as
// they are.
var calls = []struct {
	attribute uint16
	all       setting
	name      string
}{
	{nl.IFLA_BR_NF_CALL_IPTABLES, sysctlCall4, "nf_call_iptables"},
	{nl.IFLA_BR_NF_CALL_IP6TABLES, sysctlCall6, "nf_call_ip6tables"},
}

// filter has the bridge's packets shown to the inet chains.
func (b *Bridge) filter() error {
	var errs []error
	for _, c := range calls {
		all, err := c.all.read()
		if err != nil {
			errs = append(errs, fmt.Errorf("br_netfilter is gone: %w", err))
			continue
		}
		if all != "0" {
			continue
		}
		own, err := b.option(c.attribute)
		if err == nil && own == 0 {
			err = errors.Join(b.memory.note(b, c.name, "0"), b.setOption(c.attribute, 1))
			if own, _ = b.option(c.attribute); err == nil && own != 1 {
				err = errors.New("the kernel did not keep it")
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("set %s of %s, or else net.%s: %w", c.name, b.name, strings.ReplaceAll(string(c.all), "/", "."), err))
		}
	}
	return errors.Join(errs...)
}

// nlaTypeMask takes the flags off an attribute's type (NLA_TYPE_MASK, linux/netlink.h).
const nlaTypeMask = 0x3fff

// option reads an attribute of the bridge that has one byte.
func (b *Bridge) option(attribute uint16) (byte, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(b.index)
	req.AddData(info)
	answers, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return 0, err
	}
	if len(answers) == 0 || len(answers[0]) < unix.SizeofIfInfomsg {
		return 0, errors.New("the kernel's answer is too short")
	}
	within := answers[0][unix.SizeofIfInfomsg:]
	for _, of := range []uint16{unix.IFLA_LINKINFO, nl.IFLA_INFO_DATA, attribute} {
		attrs, err := nl.ParseRouteAttr(within)
		if err != nil {
			return 0, err
		}
		found := false
		for _, a := range attrs {
			if a.Attr.Type&nlaTypeMask == of {
				within, found = a.Value, true
			}
		}
		if !found {
			return 0, errors.New("the kernel does not know it (CONFIG_BRIDGE_NETFILTER)")
		}
	}
	if len(within) == 0 {
		return 0, errors.New("the kernel's answer is empty")
	}
	return within[0], nil
}

func (b *Bridge) setOption(attribute uint16, v byte) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(b.index)
	req.AddData(info)
	link := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	link.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	link.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(int(attribute), []byte{v})
	req.AddData(link)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// sourceCheck lets what has our mark through a reverse-path filter; without one there is
// nothing to change.
func (b *Bridge) sourceCheck() error {
	strict := 0
	for _, device := range []string{"all", b.name} {
		v, err := conf4(device, "rp_filter").number()
		if err != nil {
			return fmt.Errorf("look for a reverse-path filter: %w", err)
		}
		strict = max(strict, v)
	}
	mark := conf4(b.name, "src_valid_mark")
	v, err := mark.read()
	if err != nil || strict == 0 || v != "0" {
		return err
	}
	if err := errors.Join(b.memory.note(b, "src_valid_mark", v), mark.write("1")); err != nil {
		return fmt.Errorf("let the reverse-path filter of %s heed marks: %w", b.name, err)
	}
	return nil
}

// gone is what a setting answers whose interface is not there any more.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
