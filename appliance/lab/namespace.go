package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is one network namespace of the lab. It has no name in the file
// system and is gone when nothing holds it any more.
type Namespace struct {
	Name string

	lab    string // ID of the lab, the mark of everything that runs inside
	handle netns.NsHandle
	inode  uint64
}

// newNamespace makes an empty namespace with lo up.
func newNamespace(lab, name string) (*Namespace, error) {
	n := &Namespace{Name: name, lab: lab}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open namespace: %w", err)
		}
		n.handle = netns.NsHandle(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		n.inode = st.Ino
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		n.close()
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	return n, nil
}

// onThread runs f on a thread of its own and takes the thread back to the
// network namespace it came from. The thread must not end instead, as is
// usual: the runtime may have started a child from it before, and the kernel
// would take its end for the death of the child's parent (prctl(2),
// PR_SET_PDEATHSIG) and kill the child. A thread that cannot go back stays
// locked and idle for good.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("look up own namespace: %w", err)
			return
		}
		err = f()
		back := netns.Set(home)
		_ = home.Close()
		if back != nil {
			done <- errors.Join(err, fmt.Errorf("leave namespace: %w", back))
			select {}
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// Do runs f on a thread inside the namespace. Goroutines that f starts run
// outside; sockets that f makes stay inside for good.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter %s: %w", n.Name, err)
		}
		return f()
	})
}

// Dial connects from inside. The address is literal: there is no resolver.
func (n *Namespace) Dial(ctx context.Context, address netip.AddrPort) (c net.Conn, err error) {
	return n.dial(ctx, netip.Addr{}, address)
}

// dial is Dial from a stated source; the zero Addr leaves the choice to the kernel.
func (n *Namespace) dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (c net.Conn, err error) {
	d := net.Dialer{FallbackDelay: -1, KeepAlive: -1}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	err = n.Do(func() (err error) {
		c, err = d.DialContext(ctx, "tcp", to.String())
		return err
	})
	return c, err
}

// Listen listens inside; network is tcp, tcp4 or tcp6, the address literal.
func (n *Namespace) Listen(network, address string) (l net.Listener, err error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // the lab's clients and servers speak plain TCP
	err = n.Do(func() (err error) {
		l, err = lc.Listen(context.Background(), network, address)
		return err
	})
	return l, err
}

// ListenPacket is Listen for udp, udp4 and udp6.
func (n *Namespace) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = n.Do(func() (err error) {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}

// Command is exec.CommandContext for a program that runs inside: same user,
// same files, other network. The process is the program itself (its pid may be
// signalled), it is killed when the lab's process dies, and at Close at the
// latest. In a program that starts commands no goroutine may end while locked
// to its thread (runtime.LockOSThread without Unlock): the kernel takes the end
// of a thread for the death of what it started.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{argExec, n.path(), strconv.Itoa(os.Getpid()), name}, args...)
	cmd.Env = append(os.Environ(), markEnv+"="+n.lab)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// path is where a child of this process finds the namespace.
func (n *Namespace) path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.handle))
}

// netlink gives a netlink handle inside; the caller closes it.
func (n *Namespace) netlink() (*netlink.Handle, error) {
	return netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE)
}

// Sysctl writes one value below /proc/sys/net, for example
// ("ipv4/ip_forward", "1").
func (n *Namespace) Sysctl(key, value string) error {
	return n.Do(func() error {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		return nil
	})
}

func (n *Namespace) close() {
	if n.handle > 0 {
		_ = n.handle.Close()
		n.handle = -1
	}
}
