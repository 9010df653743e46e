package appliance

import (
	"net"
	"os"
	"slices"
	"strings"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// problems are faults that no other figure of status shows.
func (a *Appliance) problems() []webadmin.Problem {
	found := []webadmin.Problem{}
	for _, f := range []struct{ family, key string }{
		{"IPv4", "net/ipv4/ip_forward"},
		{"IPv6", "net/ipv6/conf/all/forwarding"},
	} {
		value, err := os.ReadFile("/proc/sys/" + f.key)
		if err == nil && strings.TrimSpace(string(value)) == "0" {
			found = append(found, webadmin.Problem{
				What:    f.family + " forwarding is off on this machine.",
				Meaning: "No " + f.family + " mail passes through the box.",
				Do:      "Set " + strings.ReplaceAll(f.key, "/", ".") + "=1 with sysctl, and in /etc/sysctl.d to keep it; or ignore this where there is no " + f.family + ".",
			})
		}
	}
	n := a.cfg.Load().Network
	for _, name := range slices.Concat(n.SubscriberInterfaces, n.UpstreamInterfaces) {
		if _, err := net.InterfaceByName(name); err != nil {
			found = append(found, webadmin.Problem{
				What:    "There is no interface " + name + ".",
				Meaning: "Mail that comes another way passes unjudged.",
				Do:      "Put the right names into network.subscriber_interfaces and upstream_interfaces, or wait for it to come up.",
			})
		}
	}
	if _, err := a.chain.Trouble(); err != nil {
		found = append(found, webadmin.Problem{
			What:    "The number of the last record cannot be kept: " + err.Error() + ".",
			Meaning: "Mail is not affected. After a crash numbers of records may occur twice.",
			Do:      "Check that the data directory is neither full nor read-only.",
		})
	}
	if lost := a.writer.Lost(); lost > 0 && a.writer.Waiting() > recordQueue/2 {
		found = append(found, webadmin.Problem{
			What:    "More happens than can be recorded.",
			Meaning: "Mail is judged as always. Some records are lost; a HEALTH record will say how many.",
			Do:      "Look for a flood: mailweir subscribers shows who is at the top.",
		})
	}
	return found
}
