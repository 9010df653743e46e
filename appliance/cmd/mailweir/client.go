package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"time"
)

// defaultData is where a running mailweir keeps its state unless --data says otherwise.
const defaultData = "/var/lib/mailweir"

// client asks the running mailweir over the socket in its data directory, in the
// words of the API.
type client struct {
	http http.Client
	dir  string
}

func newClient(dir string) *client {
	socket := filepath.Join(dir, "mailweir.sock")
	return &client{dir: dir, http: http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}},
	}}
}

// problem is the part of RFC 9457 that a person needs.
type problem struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

// call sends method to the path of the given elements under /api/v1 and decodes
// the answer into out. An element may hold anything, slashes too.
func (c *client) call(ctx context.Context, method string, elements []string, query url.Values, out any) error {
	u := url.URL{Scheme: "http", Host: "mailweir", Path: "/api/v1", RawPath: "/api/v1", RawQuery: query.Encode()}
	for _, e := range elements {
		u.Path += "/" + e
		u.RawPath += "/" + url.PathEscape(e)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("no mailweir runs with data directory %s (there is no mailweir.sock in it); start it, or name another with --data", c.dir)
		case errors.Is(err, syscall.ECONNREFUSED):
			return fmt.Errorf("mailweir with data directory %s does not run any more (its socket is dead); start it again", c.dir)
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("%s/mailweir.sock: permission denied; run this as root", c.dir)
		}
		return fmt.Errorf("ask the running mailweir: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read the answer of the running mailweir: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var p problem
		if json.Unmarshal(body, &p) == nil && p.Title != "" {
			if p.Detail != "" {
				return fmt.Errorf("%s: %s", p.Title, p.Detail)
			}
			return errors.New(p.Title)
		}
		return fmt.Errorf("the running mailweir answered %s", resp.Status)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("understand the answer of the running mailweir: %w", err)
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
