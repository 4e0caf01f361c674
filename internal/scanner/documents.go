package scanner

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anchore/syft/syft/format/cyclonedxjson"
	"github.com/anchore/syft/syft/format/spdxjson"
	"github.com/anchore/syft/syft/sbom"
	"github.com/google/uuid"

	"ferry/internal/scan"
)

// documents writes an image's SBOMs into dir: in syft's form, and in the two
// that others read.
func (l *listing) documents(list *sbom.SBOM, syft []byte, dir string, limit int64) ([]scan.Document, error) {
	spdx, err := l.spdx(list, limit)
	if err != nil {
		return nil, fmt.Errorf("write its SBOM as SPDX: %w", err)
	}
	cyclone, err := l.cycloneDX(list, limit)
	if err != nil {
		return nil, fmt.Errorf("write its SBOM as CycloneDX: %w", err)
	}
	var all []scan.Document
	for _, d := range []struct {
		mediaType, ending string
		b                 []byte
	}{{scan.SPDX, "spdx.json", spdx}, {scan.CycloneDX, "cdx.json", cyclone}, {scan.Syft, "syft.json", syft}} {
		path := filepath.Join(dir, fmt.Sprintf("%04d.%s", l.at, d.ending))
		if err := os.WriteFile(path, d.b, 0o600); err != nil {
			return nil, err
		}
		all = append(all, scan.Document{MediaType: d.mediaType, Path: path})
	}
	return all, nil
}

func (l *listing) spdx(list *sbom.SBOM, limit int64) ([]byte, error) {
	enc, err := spdxjson.NewFormatEncoderWithConfig(spdxjson.EncoderConfig{Version: "2.3"})
	if err != nil {
		return nil, err
	}
	return settled(enc, list, limit, func(doc map[string]any) {
		doc["documentNamespace"] = "https://spdx.org/spdxdocs/ferry-" + l.Digest.Encoded()
		if info, ok := doc["creationInfo"].(map[string]any); ok {
			info["created"] = l.date().Format(time.RFC3339)
		}
	})
}

func (l *listing) cycloneDX(list *sbom.SBOM, limit int64) ([]byte, error) {
	enc, err := cyclonedxjson.NewFormatEncoderWithConfig(cyclonedxjson.DefaultEncoderConfig())
	if err != nil {
		return nil, err
	}
	return settled(enc, list, limit, func(doc map[string]any) {
		doc["serialNumber"] = "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceOID, []byte(l.Digest)).String()
		if meta, ok := doc["metadata"].(map[string]any); ok {
			meta["timestamp"] = l.date().Format(time.RFC3339)
		}
		leaveOutNoURLs(doc)
	})
}

// leaveOutNoURLs takes out what stands where a URL belongs and is none, as its
// makers wrote it (git@host:path, a sentence): with it the document is not
// valid, and there are readers that refuse all of it. syft looks at some of
// them only. The document in syft's form has them all.
func leaveOutNoURLs(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			leaveOutNoURLs(e)
		}
	case map[string]any:
		if refs, ok := v["externalReferences"].([]any); ok {
			refs = slices.DeleteFunc(refs, func(r any) bool { return !hasURL(r) })
			if v["externalReferences"] = refs; len(refs) == 0 {
				delete(v, "externalReferences")
			}
		}
		if l, ok := v["license"].(map[string]any); ok && !hasURL(l) {
			delete(l, "url")
		}
		for _, e := range v {
			leaveOutNoURLs(e)
		}
	}
}

// hasURL says whether an object's URL is a reference as RFC 3987 has it.
func hasURL(v any) bool {
	m, _ := v.(map[string]any)
	s, _ := m["url"].(string)
	_, err := url.Parse(s)
	return err == nil && !strings.ContainsAny(s, " \"<>\\^`{|}")
}

// settled writes a document with what would be another at each run, the clock
// and random names, replaced: the same image gives the same bytes.
func settled(enc sbom.FormatEncoder, list *sbom.SBOM, limit int64, settle func(map[string]any)) ([]byte, error) {
	b := &limitedBuffer{limit: limit}
	if err := enc.Encode(b, *list); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(b)
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	settle(doc)
	out := &limitedBuffer{limit: limit}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	err := e.Encode(doc)
	return out.Bytes(), err
}
