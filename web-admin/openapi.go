package webadmin

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// apiOpenAPI serves the description of the API. It is made from the route table and the view structs, so it cannot say anything else.
func (s *Server) apiOpenAPI(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, openAPI(apiRoutes()))
}

type object = map[string]any

var pathParam = regexp.MustCompile(`\{(\w+)\}`)

// openAPI is an OpenAPI 3.1 document of rs.
func openAPI(rs []route) object {
	schemas := object{"problem": schemaOf(reflect.TypeFor[problemDetails](), nil)}
	paths := object{}
	for _, rt := range rs {
		item, ok := paths[rt.path].(object)
		if !ok {
			item = object{}
			paths[rt.path] = item
		}
		var params []object
		for _, m := range pathParam.FindAllStringSubmatch(rt.path, -1) {
			params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
		}
		for _, name := range rt.api.query {
			params = append(params, object{"name": name, "in": "query", "required": slices.Contains(rt.api.required, name), "schema": querySchema(name, rt.api)})
		}
		for _, name := range rt.api.headers {
			params = append(params, object{"name": name, "in": "header", "required": false, "schema": object{"type": "string"}})
		}
		content := object{"application/json": object{"schema": object{"type": "object"}}}
		switch {
		case rt.api.stream:
			content = object{"text/event-stream": object{"schema": object{"type": "string"}}}
		case rt.api.media != "":
			content = object{rt.api.media: object{}}
		case rt.api.answer != nil:
			content = object{"application/json": object{"schema": schemaOf(reflect.TypeOf(rt.api.answer), schemas)}}
		}
		if rt.api.lines != nil {
			content[linesType] = object{"schema": schemaOf(reflect.TypeOf(rt.api.lines), schemas)}
		}
		op := object{
			"summary": rt.api.summary,
			"responses": object{
				"200": object{"description": "done", "content": content},
				"default": object{"description": "a problem (RFC 9457)", "content": object{"application/problem+json": object{
					"schema": object{"$ref": "#/components/schemas/problem"}}}},
			},
		}
		if rt.api.body != nil {
			schema := bodySchema(reflect.TypeOf(rt.api.body))
			op["requestBody"] = object{"required": len(schema["required"].([]string)) > 0, "content": object{"application/json": object{"schema": schema}}}
		}
		if rt.api.takes != "" {
			op["requestBody"] = object{"required": true, "content": object{rt.api.takes: object{}}}
		}
		if len(params) > 0 {
			op["parameters"] = params
		}
		item[strings.ToLower(rt.method)] = op
	}
	return object{
		"openapi": "3.1.0",
		"info":    object{"title": "mailweir", "version": "1", "description": "Times are RFC 3339 in UTC, durations seconds (names end in _s), sizes bytes."},
		"paths":   paths,
		"components": object{"schemas": schemas, "securitySchemes": object{
			"token":   object{"type": "http", "scheme": "bearer"},
			"session": object{"type": "apiKey", "in": "cookie", "name": cookieName},
		}},
		"security": []object{{"token": []string{}}, {"session": []string{}}},
	}
}

func querySchema(name string, of *operation) object {
	switch name {
	case "limit":
		return object{"type": "integer", "minimum": 1, "maximum": maxLimit, "default": defaultLimit}
	case "exempt", "brief", "dry_run":
		return object{"type": "boolean"}
	case "from", "to", "at":
		return object{"type": "string", "format": "date-time"}
	case "window":
		return object{"type": "string", "enum": windows, "default": "1h"}
	case "step":
		return object{"type": "string", "enum": of.steps, "default": of.steps[usualStep]}
	case "kind":
		return object{"type": "string", "enum": recordKinds}
	case "severity":
		return object{"type": "string", "enum": severityNames}
	case "stage":
		return object{"type": "array", "items": object{"type": "string", "enum": stages}}
	}
	return object{"type": "string", "maxLength": maxText}
}

// bodySchema describes what a route takes: its members and no others, all of them.
func bodySchema(t reflect.Type) object {
	o := fieldsSchema(t, nil)
	o["additionalProperties"] = false
	return o
}

// schemaOf describes t as encoding/json writes it. Named structs go into named, and are referred to; nil: everything in place.
func schemaOf(t reflect.Type, named object) object {
	switch t {
	case reflect.TypeFor[Time]():
		return object{"type": []string{"string", "null"}, "format": "date-time"}
	case reflect.TypeFor[Seconds]():
		return object{"type": "number"}
	case reflect.TypeFor[time.Time](), reflect.TypeFor[json.RawMessage]():
		panic("webadmin: " + t.String() + " in a view struct: use Time, or a struct")
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem(), named)}
	case reflect.Map: // from words to something
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem(), named)}
	case reflect.Pointer:
		return object{"anyOf": []object{schemaOf(t.Elem(), named), {"type": "null"}}}
	case reflect.Struct:
		return structSchema(t, named)
	}
	panic("webadmin: no schema for " + t.String())
}

func structSchema(t reflect.Type, named object) object {
	name := strings.ToLower(t.Name())
	generic := strings.Contains(name, "[")
	if named != nil && !generic {
		if _, done := named[name]; !done {
			named[name] = object{} // ends recursion
			named[name] = fieldsSchema(t, named)
		}
		return object{"$ref": "#/components/schemas/" + name}
	}
	return fieldsSchema(t, named)
}

func fieldsSchema(t reflect.Type, named object) object {
	properties, required := object{}, []string{}
	for f := range t.Fields() {
		if f.Anonymous {
			inner := fieldsSchema(f.Type, named)
			maps.Copy(properties, inner["properties"].(object))
			required = append(required, inner["required"].([]string)...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		schema := schemaOf(f.Type, named)
		if format := f.Tag.Get("format"); format != "" {
			schema["format"] = format
		}
		properties[name] = schema
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	if t == reflect.TypeFor[Record]() {
		properties["params"] = object{"type": "object", "additionalProperties": object{"type": "string"}}
		required = append(required, "params")
	}
	return object{"type": "object", "properties": properties, "required": required}
}
