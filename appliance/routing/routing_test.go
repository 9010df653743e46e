package routing

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/mailweir/mailweir/appliance/config"
)

func parsed(t *testing.T, text string) Plan {
	t.Helper()
	c, err := config.Parse("mailweir.yaml", []byte("network:\n  topology: routed\n  subscriber_interfaces: [port2]\n  upstream_interfaces: [port3]\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return Of(c.Network)
}

const whole = `  addresses:
    - {interface: port2, address: 10.1.0.1/16}
    - {interface: port2, address: "2001:db8:1::1/64"}
    - {interface: port3, address: 192.0.2.2/29}
    - {interface: port3, address: "2001:db8:2::2/64"}
  routes:
    - {to: default, via: 192.0.2.1}
    - {to: default, via: "2001:db8:2::1"}
    - {to: 198.51.100.0/24, via: 10.1.0.2}
    - {to: "2001:db8:8::/48", via: "fe80::7", interface: port2}
`

func TestAPlanIsWhatTheConfigurationSays(t *testing.T) {
	t.Parallel()
	p := parsed(t, whole)
	if len(p.Ports) != 2 || !p.Ports[0].Subscriber || p.Ports[1].Subscriber || !slices.Equal(p.Names(), []string{"port2", "port3"}) || len(p.Ports[0].Addresses) != 2 {
		t.Errorf("ports: %+v", p.Ports)
	}
	var ports []string
	for _, r := range p.Routes {
		ports = append(ports, r.Port)
	}
	if !slices.Equal(ports, []string{"port3", "port3", "port2", "port2"}) {
		t.Errorf("the routes lead to %q", ports)
	}
	var behind []string
	for _, b := range p.behind() {
		behind = append(behind, b.String())
	}
	if want := []string{"10.1.0.0/16", "192.0.2.0/29", "198.51.100.0/24", "2001:db8:1::/64", "2001:db8:2::/64", "2001:db8:8::/48"}; !slices.Equal(behind, want) {
		t.Errorf("behind the ports: %q, want %q", behind, want)
	}
}

// TestEveryWayIsChosenByARule holds the rules against a reading of them as the kernel's.
func TestEveryWayIsChosenByARule(t *testing.T) {
	t.Parallel()
	rules := append(managementRules([]netip.Prefix{netip.MustParsePrefix("192.168.9.1/24"), netip.MustParsePrefix("2001:db8:9::1/64")}), parsed(t, whole).rules()...)
	slices.SortStableFunc(rules, func(a, b rule) int { return a.priority - b.priority })
	// way is the tables that are asked, in their order, up to the first that is certain.
	way := func(in, from string, v6 bool) (tables []int) {
		for _, r := range rules {
			if r.v6 != v6 || (r.in == in) == r.not {
				continue
			}
			if r.from.IsValid() {
				if from == "" || !r.from.Contains(netip.MustParseAddr(from)) {
					continue
				}
			}
			if r.specific {
				tables = append(tables, -r.table)
				continue
			}
			tables = append(tables, r.table)
			if r.table == 0 {
				return tables
			}
		}
		return append(tables, mainTable)
	}
	for _, row := range []struct {
		why, in, from string
		v6            bool
		want          []int
	}{
		{"from a subscriber", "port2", "10.1.0.9", false, []int{Table, 0}},
		{"from the internet, IPv6", "port3", "2001:db8:ffff::1", true, []int{Table, 0}},
		{"in by the management port", "port1", "192.168.9.7", false, []int{0}},
		{"in by its VLAN, IPv6", "port1.7", "2001:db8:9::7", true, []int{0}},
		{"the web admin's answer", "lo", "192.168.9.1", false, []int{mainTable, -Table, mainTable}},
		{"the web admin's answer, IPv6", "lo", "2001:db8:9::1", true, []int{mainTable, -Table, mainTable}},
		{"a 421", "lo", "10.1.0.1", false, []int{Table, -Table, mainTable}},
		{"a reset to a server, as from a subscriber behind a router", "lo", "198.51.100.7", false, []int{Table, -Table, mainTable}},
		{"a reset to a subscriber, as from a server", "lo", "203.0.113.5", false, []int{-Table, mainTable}},
		{"the same, IPv6", "lo", "2001:db8:ffff::1", true, []int{-Table, mainTable}},
		{"what the box says for itself", "lo", "0.0.0.0", false, []int{mainTable, -Table, mainTable}},
		{"the same, IPv6, which leaves the source out", "lo", "", true, []int{mainTable}},
	} {
		if got := way(row.in, row.from, row.v6); !slices.Equal(got, row.want) {
			t.Errorf("%s: tables %v, want %v", row.why, got, row.want)
		}
	}
}
