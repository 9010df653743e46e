package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
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

// problem is the part of RFC 9457 that a person needs, with our errors.
type problem struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"errors"`
}

func (p problem) Error() string {
	said := []string{p.Title}
	if p.Detail != "" {
		said = append(said, p.Detail)
	}
	for _, e := range p.Errors {
		said = append(said, e.Field+" "+e.Message)
	}
	return strings.Join(said, ": ")
}

// get asks for the path of the given elements under /api/v1 and decodes the answer
// into out. An element may hold anything, slashes too.
func (c *client) get(ctx context.Context, elements []string, query url.Values, out any) error {
	return c.call(ctx, http.MethodGet, elements, query, nil, out)
}

// call sends method to the path of the given elements under /api/v1, with body as
// JSON unless it is nil, and decodes the answer into out.
func (c *client) call(ctx context.Context, method string, elements []string, query url.Values, body, out any) error {
	u := url.URL{Scheme: "http", Host: "mailweir", Path: "/api/v1", RawPath: "/api/v1", RawQuery: query.Encode()}
	for _, e := range elements {
		u.Path += "/" + e
		u.RawPath += "/" + url.PathEscape(e)
	}
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), send)
	if err != nil {
		return err
	}
	if send != nil {
		req.Header.Set("Content-Type", "application/json")
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
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read the answer of the running mailweir: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var p problem
		if json.Unmarshal(answer, &p) == nil && p.Title != "" {
			if len(p.Errors) > 0 {
				return usageError{p}
			}
			return p
		}
		return fmt.Errorf("the running mailweir answered %s", resp.Status)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("understand the answer of the running mailweir: %w", err)
	}
	return nil
}

// page is one page of a list of the API.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// pages follows a list to its end and gives its pages one by one.
func pages[T any](ctx context.Context, api *client, elements []string, query url.Values, give func([]T) error) error {
	asked := url.Values{"limit": {"1000"}}
	maps.Copy(asked, query)
	for {
		var p page[T]
		if err := api.get(ctx, elements, asked, &p); err != nil {
			return err
		}
		if err := give(p.Items); err != nil || p.Next == "" {
			return err
		}
		asked.Set("cursor", p.Next)
	}
}

// all is a whole list.
func all[T any](ctx context.Context, api *client, elements []string, query url.Values) ([]T, error) {
	var items []T
	err := pages(ctx, api, elements, query, func(more []T) error {
		items = append(items, more...)
		return nil
	})
	return items, err
}

// printList prints a whole list as the API's JSON, an item on a line, while its pages come: it may be long.
func printList(ctx context.Context, w io.Writer, api *client, elements []string) error {
	out := bufio.NewWriter(w)
	before := `{"items": [`
	err := pages(ctx, api, elements, nil, func(items []json.RawMessage) error {
		for _, item := range items {
			out.WriteString(before)
			out.WriteString("\n")
			out.Write(item)
			before = ","
		}
		return nil
	})
	if err != nil {
		return err
	}
	if before != "," {
		out.WriteString(before)
	}
	out.WriteString("\n], \"next\": \"\"}\n")
	return out.Flush()
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
