package e2e

import (
	"io"
	"net/http"
	"strings"
)

// ask is one request to the API over the socket.
func (b *box) ask(method, path, body string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.ctx, method, "http://mailweir/api/v1"+path, strings.NewReader(body))
	check(b.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := b.api().Do(req)
	check(b.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	check(b.t, err)
	return resp.StatusCode, string(answer)
}
