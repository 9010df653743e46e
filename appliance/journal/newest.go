package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// Found is what Newest found.
type Found struct {
	Items []Item
	Below uint64    // where to go on, as Query.Below; 0: that was all
	Back  time.Time // where it stopped within the journal: all that is younger was looked at; zero where Below is 0
	Bad   []string  // what could not be read on the way, at most maxBad
}

const (
	maxBad     = 8
	lookUpAt   = 256 // rows, between two looks whether anybody still waits
	newestFile = 1   // that is read whatever its size, so that each call goes on
)

func (f *Found) bad(file, what string) {
	if len(f.Bad) < maxBad {
		f.Bad = append(f.Bad, filepath.Base(file)+": "+what)
	}
}

// Newest gives at most limit of what q wants, the newest first. It reads no more than so many bytes, one file at least, and has one file in memory at a
// time. It ends with ctx. A file that cannot be read, and what is damaged in one, is said in Bad, and what is around it is found all the same.
func (r *Reader) Newest(ctx context.Context, q Query, limit int, bytes int64) (f Found, err error) {
	q.sharpen()
	all, err := segmentsIn(r.dir, recordsFamily)
	if err != nil {
		return f, fmt.Errorf("journal: %w", err)
	}
	read, files := int64(0), 0
	for i, s := range slices.Backward(all) {
		if err := ctx.Err(); err != nil {
			return f, err
		}
		complete, err := s.peek()
		switch {
		case errors.Is(err, fs.ErrNotExist): // its time has come meanwhile
			continue
		case err != nil:
			f.bad(s.path, err.Error())
			continue
		case complete && s.sum.LastSeq > 0 && s.sum.LastSeq <= q.Above: // and all files before it
			f.Below, f.Back = 0, time.Time{}
			return f, nil
		case q.Below > 0 && s.sum.FirstSeq >= q.Below, complete && q.passes(s):
			continue
		case len(f.Items) == limit, files >= newestFile && read+s.size > bytes:
			f.Below = q.Below
			return f, nil
		}
		read, files = read+s.size, files+1
		more, err := r.newestOf(ctx, s, i == len(all)-1, &q, limit, &f)
		if err != nil {
			return f, err
		}
		if more {
			f.Below = f.Items[limit-1].Record.Seq
			f.Back = f.Items[limit-1].Record.Time
			return f, nil
		}
		if first := s.sum.FirstSeq; first > 0 && (q.Below == 0 || first < q.Below) {
			q.Below, f.Back = first, time.UnixMilli(s.sum.Oldest)
		} else { // one that is not complete yet, and all above: who goes on is no further by it
			read, files = read-s.size, files-1
		}
		runtime.Gosched() // others have something to do, too
	}
	f.Back = time.Time{}
	return f, nil
}

// newestOf adds what a file has to f, the newest first, up to limit; more: it has more. Only what is added is taken apart.
func (r *Reader) newestOf(ctx context.Context, s *segment, last bool, q *Query, limit int, f *Found) (more bool, err error) {
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		f.bad(s.path, err.Error())
		return false, nil
	}
	type place struct{ at, end int }
	var rows []place
	complete := s.sum != summary{}
	if _, _, err := frames(data, func(at int, payload []byte, bad string) error {
		switch {
		case last && bad != "" && at+len(payload) == len(data): // it is being written
		case bad != "":
			f.bad(s.path, fmt.Sprintf("%s at byte %d", bad, at))
		default:
			if !complete {
				s.take(payload)
			}
			rows = append(rows, place{at, at + frameHead + len(payload)})
		}
		return nil
	}); err != nil {
		return false, err
	}
	for n, p := range slices.Backward(rows) {
		if n%lookUpAt == 0 {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			runtime.Gosched()
		}
		it := Item{File: s.path, Offset: int64(p.at)}
		wanted := r.item(&it, data[p.at+frameHead:p.end], q)
		switch {
		case it.Damage != "":
			f.bad(s.path, fmt.Sprintf("%s at byte %d", it.Damage, p.at))
		case !wanted || it.Record.Seq == 0: // another, or a stub
		case len(f.Items) == limit:
			return true, nil
		default:
			f.Items = append(f.Items, it)
		}
	}
	return false, nil
}
