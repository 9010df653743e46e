package lane

import (
	"fmt"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// calls makes the system calls of single sessions without allocating: what the kernel
// reads lies here, where it does not move.
type calls struct {
	mu     sync.Mutex // what follows
	closed bool
	elem   elemAttr
	run    runAttr
	key    [16]byte
	source programSource
	cut    programCutSource
	desk   struct {
		head  [16]byte // a test packet begins with an Ethernet header
		edits [deskEdits]edit
	}

	sources, blocked uint32
}

// As in bpf(2): union bpf_attr for BPF_MAP_*_ELEM and for BPF_PROG_TEST_RUN. Both begin
// every field where its size says, also on 32-bit processors.
type elemAttr struct {
	fd    uint32
	_     uint32
	key   uint64
	value uint64
	flags uint64
}

type runAttr struct {
	fd, result       uint32
	lenIn, lenOut    uint32
	dataIn, dataOut  uint64
	repeat, duration uint32
	ctxLenIn, ctxLen uint32
	ctxIn, ctxOut    uint64
	flags, cpu       uint32
}

// edit is struct edit of the program, at most deskEdits in a call (DESK_EDITS).
type edit struct {
	key   programFlowKey
	isn   uint32
	state uint32
}

const deskEdits = 64

func (c *calls) init(coll *ebpf.Collection) {
	c.run.fd = uint32(coll.Programs[programProgDesk].FD())
	c.sources = uint32(coll.Maps[programMapSources].FD())
	c.blocked = uint32(coll.Maps[programMapBlocked].FD())
}

func (c *calls) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true // the numbers in it will be somebody else's
}

// update, remove and edit want c.mu.

func (c *calls) update(fd uint32, value unsafe.Pointer) error {
	if c.closed {
		return errClosed
	}
	c.elem = elemAttr{fd: fd, key: address(unsafe.Pointer(&c.key)), value: address(value)}
	return bpf(unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(&c.elem), unsafe.Sizeof(c.elem))
}

func (c *calls) remove(fd uint32) error {
	if c.closed {
		return errClosed
	}
	c.elem = elemAttr{fd: fd, key: address(unsafe.Pointer(&c.key))}
	return bpf(unix.BPF_MAP_DELETE_ELEM, unsafe.Pointer(&c.elem), unsafe.Sizeof(c.elem))
}

// edit makes the first n changes of c.desk and says how many flows were found.
func (c *calls) edit(n int) (int, error) {
	if c.closed {
		return 0, errClosed
	}
	c.run.result = 0
	c.run.lenIn = uint32(unsafe.Sizeof(c.desk.head) + uintptr(n)*unsafe.Sizeof(edit{}))
	c.run.lenOut = 0
	c.run.dataIn = address(unsafe.Pointer(&c.desk))
	if err := bpf(unix.BPF_PROG_TEST_RUN, unsafe.Pointer(&c.run), unsafe.Sizeof(c.run)); err != nil {
		return 0, fmt.Errorf("change flows: %w", err)
	}
	return int(c.run.result), nil
}

// address is only for memory inside calls: that is on the heap and stays where it is.
func address(p unsafe.Pointer) uint64 { return uint64(uintptr(p)) }

func bpf(cmd uintptr, attr unsafe.Pointer, size uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(attr), size); errno != 0 {
		return errno
	}
	return nil
}
