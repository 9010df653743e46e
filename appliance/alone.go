package appliance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// claim makes sure that only one mailweir runs in this network namespace: two
// would replace each other's ruleset without a word. The name is an abstract unix
// address, which belongs to the network namespace and is gone with the process.
func claim() (release func(), err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("this needs root: the packet queue and nftables take CAP_NET_ADMIN")
	}
	l, err := net.Listen("unix", "@mailweir/run")
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errors.New("another mailweir runs in this network namespace; stop it first")
	}
	if err != nil {
		return nil, fmt.Errorf("claim the network namespace: %w", err)
	}
	return func() { l.Close() }, nil
}
