package leases

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace without a name: it goes with its last handle and its last process.
type space struct {
	t      *testing.T
	handle netns.NsHandle
}

func newSpace(t *testing.T) space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("tests with DHCP servers make network namespaces: run them as root (CAP_NET_ADMIN, CAP_SYS_ADMIN)")
	}
	s := space{t: t}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var err error
		s.handle, err = netns.New()
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	t.Cleanup(func() { _ = s.handle.Close() })
	s.must(func() error { return up("lo") })
	return s
}

// must runs f in the namespace, on a thread that is used for nothing else.
func (s space) must(f func() error) {
	s.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(s.handle); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
}

func up(name string, addresses ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err == nil {
			if addr.IP.To4() == nil {
				addr.Flags = unix.IFA_F_NODAD // it is to be had at once
			}
			err = netlink.AddrAdd(link, addr)
		}
		if err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// network is a DHCP server's namespace and that of a relay, joined by a cable: srv0 and rly0.
func network(t *testing.T) (server, relays space) {
	t.Helper()
	server, relays = newSpace(t), newSpace(t)
	server.must(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "srv0"
		return errors.Join(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "rly0", PeerNamespace: netlink.NsFd(relays.handle)}),
			up("srv0", serverIP4+"/24", serverIP6+"/64"))
	})
	relays.must(func() error { return up("rly0", relayIP4+"/24", relayIP6+"/64") })
	return server, relays
}

// daemon starts a program in the namespace. What it printed is shown when the test fails. stop ends it and waits.
func (s space) daemon(pkg, path string, args []string, env ...string) (stop func()) {
	s.t.Helper()
	if _, err := os.Stat(path); err != nil {
		s.t.Fatalf("%v: the Debian package %s is missing; run: make setup", err, pkg)
	}
	var out bytes.Buffer
	var mu sync.Mutex
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout = lockedWriter{&mu, &out}
	cmd.Stderr = cmd.Stdout
	ended := make(chan struct{})
	s.must(cmd.Start) // a child is born into the namespace of the thread that makes it
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			s.t.Errorf("%s does not stop", path)
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	s.t.Cleanup(func() {
		stop()
		if s.t.Failed() {
			mu.Lock()
			defer mu.Unlock()
			s.t.Logf("%s %s:\n%s", path, strings.Join(args, " "), out.String())
		}
	})
	return stop
}

type lockedWriter struct {
	mu  *sync.Mutex
	out *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

// startDnsmasq serves both families; its leases last two minutes, the shortest it knows.
func startDnsmasq(t *testing.T, in space, file string) (stop func()) {
	t.Helper()
	return in.daemon("dnsmasq-base", "/usr/sbin/dnsmasq", []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--pid-file=", "--user=root", "--port=0", "--no-ping", "--no-resolv",
		"--interface=srv0", "--bind-interfaces", "--dhcp-authoritative", "--dhcp-leasefile=" + file,
		"--dhcp-range=10.9.0.100,10.9.0.200,255.255.255.0,2m", "--dhcp-range=2001:db8:9::100,2001:db8:9::1ff,64,2m",
	})
}

// startKea serves one family; lifetime in seconds is that of every lease, cleanup that between two runs of kea-lfc.
func startKea(t *testing.T, in space, family int, file string, lifetime, cleanup int) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	subnet := `"subnet4": [{"id": 1, "subnet": "10.9.0.0/24", "pools": [{"pool": "10.9.0.100-10.9.0.200"}]}]`
	listen := "srv0"
	if family == 6 {
		subnet = `"subnet6": [{"id": 1, "subnet": "2001:db8:9::/64", "rapid-commit": true, "interface": "srv0",
			"pools": [{"pool": "2001:db8:9::100-2001:db8:9::1ff"}],
			"pd-pools": [{"prefix": "2001:db8:f000::", "prefix-len": 40, "delegated-len": 56}]}]`
		listen = "srv0/" + serverIP6
	}
	conf := fmt.Sprintf(`{"Dhcp%d": {
		"interfaces-config": {"interfaces": ["%s"]%s},
		"lease-database": {"type": "memfile", "persist": true, "name": "%s", "lfc-interval": %d},
		"expired-leases-processing": {"reclaim-timer-wait-time": 1, "flush-reclaimed-timer-wait-time": 2, "hold-reclaimed-time": 3},
		"store-extended-info": true, "valid-lifetime": %d%s,
		%s,
		"loggers": [{"name": "kea-dhcp%d", "output_options": [{"output": "stdout"}], "severity": "INFO"}]
	}}`, family, listen, map[int]string{4: `, "dhcp-socket-type": "udp"`, 6: ""}[family], file, cleanup, lifetime,
		map[int]string{4: "", 6: fmt.Sprintf(`, "preferred-lifetime": %d, "server-id": {"type": "LL", "persist": false}`, lifetime)}[family], subnet, family)
	path := filepath.Join(dir, "kea.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return in.daemon(fmt.Sprintf("kea-dhcp%d-server", family), fmt.Sprintf("/usr/sbin/kea-dhcp%d", family), []string{"-c", path},
		"KEA_PIDFILE_DIR="+dir, "KEA_LOCKFILE_DIR=none", "KEA_DHCP_DATA_DIR="+dir)
}
