package ruleset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// Foreign names what else looks at packets on their way through this network
// namespace and may ask conntrack about them or translate their addresses, such as
// "table inet fw4" or "iptables nat"; "" when nothing does. Where something does,
// packets must not go untracked (Options.Untracked).
func Foreign() (string, error) {
	chains, err := otherChains()
	if err != nil {
		return "", err
	}
	for _, ch := range chains {
		switch onTheWay(ch.Table.Family, *ch.Hooknum) {
		case "", "ingress", "egress": // those come before conntrack or without it
		default:
			return tableName(ch.Table), nil
		}
	}
	return foreignLegacy()
}

// otherChains are the chains of others' that have a hook.
func otherChains() (others []*nftables.Chain, err error) {
	c, err := dial()
	if err != nil {
		return nil, fmt.Errorf("look for other rules: %w", err)
	}
	defer c.close()
	chains, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("look for other rules: list chains: %w", explain(err))
	}
	return slices.DeleteFunc(chains, func(ch *nftables.Chain) bool {
		return ch.Hooknum == nil || ch.Table.Family == nftables.TableFamilyINet && ch.Table.Name == TableName
	}), nil
}

var familyNames = map[nftables.TableFamily]string{
	nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet", nftables.TableFamilyNetdev: "netdev",
}

// tableName is as nft writes it.
func tableName(t *nftables.Table) string { return "table " + familyNames[t.Family] + " " + t.Name }

// foreignLegacy looks for the tables of iptables from before nftables, of which
// netlink knows nothing. A kernel without them has no such files.
func foreignLegacy() (string, error) {
	for file, tool := range map[string]string{"ip_tables_names": "iptables", "ip6_tables_names": "ip6tables"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("look for other rules: %w", err)
		}
		if names := strings.Fields(string(text)); len(names) > 0 {
			return tool + " " + names[0], nil
		}
	}
	return "", nil
}
