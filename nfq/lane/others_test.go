package lane

import (
	"fmt"
	"os/exec"
	"slices"
	"testing"
)

// Whoever else wants to see packets is found, and named.
func TestOthersAreFound(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"tcx", "clsact"} {
		for _, row := range []struct {
			why  string
			do   func() error // in the box
			want string
		}{
			{"nobody", func() error { return nil }, ""},
			{"a bridge", func() error {
				return run("ip", "link", "add", "br0", "type", "bridge", ";", "ip", "link", "set", "lan1", "master", "br0")
			}, "interface lan1 is part of another one"},
			{"a filter", func() error {
				return run("tc", "qdisc", "replace", "dev", "wan0", "clsact", ";", "tc", "filter", "add", "dev", "wan0", "ingress", "prio", "1", "protocol", "ip", "u32", "match", "u32", "0", "0", "flowid", "1:1")
			}, "a filter of somebody else at ingress of wan0"},
			{"a program", nil, "a program of somebody else at ingress of lan0"},
			{"hashes", func() error { return sysctl("ipv4/fib_multipath_hash_policy", "1") }, "net.ipv4.fib_multipath_hash_policy is 1"},
			{"hashes of IPv6", func() error { return sysctl("ipv6/fib_multipath_hash_policy", "1") }, "net.ipv6.fib_multipath_hash_policy is 1"},
			{"a policy", func() error {
				return run("ip", "xfrm", "policy", "add", "src", "10.9.0.0/16", "dst", "10.8.0.0/16", "dir", "fwd", "action", "block")
			}, "policies of IPsec"},
			{"a default policy", func() error { return run("ip", "xfrm", "policy", "setdefault", "fwd", "block") }, "the default policy of IPsec"},
		} {
			r := newRig(t)
			l := r.attached(how)
			if row.do == nil {
				r.watchLinear("lan0")
			} else {
				r.box.Must(row.do)
			}
			r.box.Must(func() error {
				got, err := l.Others()
				if got != row.want {
					t.Errorf("%s, %s: %q, want %q", row.why, how, got, row.want)
				}
				return err
			})
		}
	}
}

// run runs commands, separated by ";", in the calling thread's namespace.
func run(words ...string) error {
	for len(words) > 0 {
		n := slices.Index(words, ";")
		if n < 0 {
			n = len(words)
		}
		if b, err := exec.Command(words[0], words[1:n]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", words[:n], err, b)
		}
		words = words[min(n+1, len(words)):]
	}
	return nil
}
