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
	var send []byte
	if body != nil {
		var err error
		if send, err = json.Marshal(body); err != nil {
			return err
		}
	}
	answer, err := c.ask(ctx, method, elements, query, "application/json", send)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("understand the answer of the running mailweir: %w", err)
	}
	return nil
}

// mostAnswered bounds an answer; a backup is not larger.
const mostAnswered = 80 << 20

// ask is call with a body and an answer of any kind.
func (c *client) ask(ctx context.Context, method string, elements []string, query url.Values, kind string, body []byte) ([]byte, error) {
	u := url.URL{Scheme: "http", Host: "mailweir", Path: "/api/v1", RawPath: "/api/v1", RawQuery: query.Encode()}
	for _, e := range elements {
		u.Path += "/" + e
		u.RawPath += "/" + url.PathEscape(e)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("no mailweir runs with data directory %s (there is no mailweir.sock in it); start it, or name another with --data", c.dir)
		case errors.Is(err, syscall.ECONNREFUSED):
			return nil, fmt.Errorf("mailweir with data directory %s does not run any more (its socket is dead); start it again", c.dir)
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("%s/mailweir.sock: permission denied; run this as root", c.dir)
		}
		return nil, fmt.Errorf("ask the running mailweir: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswered+1))
	if err == nil && len(answer) > mostAnswered {
		err = fmt.Errorf("it is larger than %d bytes", mostAnswered)
	}
	if err != nil {
		return nil, fmt.Errorf("read the answer of the running mailweir: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var p problem
		if json.Unmarshal(answer, &p) == nil && p.Title != "" {
			if len(p.Errors) > 0 {
				return nil, usageError{p}
			}
			return nil, p
		}
		return nil, fmt.Errorf("the running mailweir answered %s", resp.Status)
	}
	return answer, nil
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
