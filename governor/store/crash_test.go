package store

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
)

// memory is a disk in memory that can lose its power and can fail. What was written and not synced, and names that were
// changed and not synced, are then kept in part, page by page and name by name, as chance will have it.
type memory struct {
	mu      sync.Mutex
	files   map[string]*inode
	durable map[string]*inode // the names that are sure
	rnd     *rand.Rand
	fail    func(op, name string) error // nil: nothing fails
	room    int64                       // bytes left; negative: without end
	writes  int
}

const page = 512

// inode is a file. data is what a reader sees, sure is what a power cut leaves, and touched are the pages that differ.
type inode struct {
	data, sure []byte
	touched    map[int64]bool
	resized    bool
}

var (
	errPower   = errors.New("no power")
	errNoSpace = errors.New("no space left")
)

func newMemory(seed uint64) *memory {
	return &memory{files: map[string]*inode{}, durable: map[string]*inode{}, rnd: rand.New(rand.NewPCG(seed, 1)), room: -1}
}

// cut takes the power away and gives it back: the disk as the next life finds it.
func (m *memory) cut() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := newMemory(m.rnd.Uint64())
	n.rnd = m.rnd
	names := slices.Sorted(maps.Keys(m.files))
	for name := range m.durable {
		if m.files[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		f := m.durable[name]
		if m.files[name] != f && m.rnd.IntN(2) == 0 {
			f = m.files[name]
		}
		if f == nil {
			continue
		}
		kept := f.afterCut(m.rnd)
		n.files[name], n.durable[name] = kept, kept
	}
	m.fail = func(string, string) error { return errPower } // the old life is over
	return n
}

func (f *inode) afterCut(rnd *rand.Rand) *inode {
	size := len(f.sure)
	if f.resized {
		switch rnd.IntN(3) {
		case 0:
			size = len(f.data)
		case 1:
			lo, hi := min(len(f.sure), len(f.data)), max(len(f.sure), len(f.data))
			size = lo + rnd.IntN(hi-lo+1)
		}
	}
	b := make([]byte, size)
	copy(b, f.sure)
	for _, p := range slices.Sorted(maps.Keys(f.touched)) {
		if from := p * page; rnd.IntN(2) == 0 && from < int64(size) && from < int64(len(f.data)) {
			copy(b[from:min(from+page, int64(size))], f.data[from:])
		}
	}
	return &inode{data: b, sure: slices.Clone(b), touched: map[int64]bool{}}
}

func (m *memory) may(op, name string) error {
	if m.fail != nil {
		return m.fail(op, name)
	}
	return nil
}

func (m *memory) names() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.files)), m.may("names", "")
}

func (m *memory) create(name string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may("create", name); err != nil {
		return nil, err
	}
	if m.files[name] != nil {
		return nil, os.ErrExist
	}
	m.files[name] = &inode{touched: map[int64]bool{}}
	return &handle{m, m.files[name], name}, nil
}

func (m *memory) open(name string, toWrite bool) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	op := "read"
	if toWrite {
		op = "open"
	}
	if err := m.may(op, name); err != nil {
		return nil, err
	}
	if m.files[name] == nil {
		return nil, os.ErrNotExist
	}
	return &handle{m, m.files[name], name}, nil
}

func (m *memory) rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may("rename", from); err != nil {
		return err
	}
	m.files[to] = m.files[from]
	delete(m.files, from)
	return nil
}

func (m *memory) remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may("remove", name); err != nil {
		return err
	}
	if m.files[name] == nil {
		return os.ErrNotExist
	}
	if m.room >= 0 {
		m.room += int64(len(m.files[name].data))
	}
	delete(m.files, name)
	return nil
}

func (m *memory) sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may("sync names", ""); err != nil {
		return err
	}
	m.durable = maps.Clone(m.files)
	return nil
}

type handle struct {
	m    *memory
	f    *inode
	name string
}

func (h *handle) ReadAt(b []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.may("read", h.name); err != nil {
		return 0, err
	}
	if off >= int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(b, h.f.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes a part of b before it fails.
func (h *handle) WriteAt(b []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.m.writes++
	err := h.m.may("write", h.name)
	if errors.Is(err, errPower) {
		return 0, err
	}
	if err != nil {
		b = b[:h.m.rnd.IntN(len(b)+1)]
	}
	if more := off + int64(len(b)) - int64(len(h.f.data)); more > 0 {
		if h.m.room >= 0 && more > h.m.room {
			b = b[:int64(len(b))-more+h.m.room]
			more, err = h.m.room, errNoSpace
		}
		if h.m.room >= 0 {
			h.m.room -= more
		}
		h.f.data = append(h.f.data, make([]byte, more)...)
		h.f.resized = true
	}
	n := copy(h.f.data[off:], b)
	for p := off / page; p*page < off+int64(n); p++ {
		h.f.touched[p] = true
	}
	return n, err
}

func (h *handle) Truncate(size int64) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.may("truncate", h.name); err != nil {
		return err
	}
	if h.m.room >= 0 {
		h.m.room += int64(len(h.f.data)) - size
	}
	if size < int64(len(h.f.data)) {
		h.f.data, h.f.resized = h.f.data[:size:size], true
	}
	return nil
}

func (h *handle) Sync() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.may("sync", h.name); err != nil {
		return err
	}
	h.f.sure, h.f.touched, h.f.resized = slices.Clone(h.f.data), map[int64]bool{}, false
	return nil
}

func (h *handle) Size() (int64, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return int64(len(h.f.data)), h.m.may("read", h.name)
}

func (h *handle) Close() error { return nil }
