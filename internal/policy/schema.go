package policy

import (
	_ "embed" // the schema
)

//go:embed schema.json
var schema string

// Schema is the JSON schema of ferry.policy.yaml, for editors. Parse is
// stricter where a schema cannot say it.
func Schema() string { return schema }
