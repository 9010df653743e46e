// Package monitoring has what Prometheus and Grafana are given to look after boxes: alert rules and a dashboard.
// They name metrics of /metrics, and the tests hold them against it.
package monitoring

import _ "embed"

// Rules is a file of alert rules for Prometheus 2.x.
//
//go:embed mailweir.rules.yml
var Rules []byte

// Dashboard is a dashboard for Grafana 10 and later, to be imported as JSON.
//
//go:embed mailweir-dashboard.json
var Dashboard []byte
