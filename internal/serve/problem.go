package serve

import "net/http"

// The error codes of the distribution specification that are used here.
const (
	blobUnknown     = "BLOB_UNKNOWN"
	digestInvalid   = "DIGEST_INVALID"
	manifestUnknown = "MANIFEST_UNKNOWN"
	nameInvalid     = "NAME_INVALID"
	nameUnknown     = "NAME_UNKNOWN"
	unauthorized    = "UNAUTHORIZED"
	unsupported     = "UNSUPPORTED"
	// The specification has no codes for these; registries use them.
	pageInvalid = "PAGINATION_NUMBER_INVALID"
	unknown     = "UNKNOWN"
)

// problem is an answer that is an error.
type problem struct {
	status  int
	code    string
	message string
	// err is set where the content is at fault, not the client.
	err error
}

func notFound(code, message string) *problem {
	return &problem{status: http.StatusNotFound, code: code, message: message}
}

func badRequest(code, message string) *problem {
	return &problem{status: http.StatusBadRequest, code: code, message: message}
}

// faulty is for content that cannot be read or is not what it should be.
func faulty(err error) *problem {
	return &problem{
		status: http.StatusInternalServerError, code: unknown, err: err,
		message: "the bundle is damaged or cannot be read: run ferry verify on it",
	}
}

func (p *problem) answer(w http.ResponseWriter) {
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	h := w.Header()
	h.Del("Docker-Content-Digest")
	h.Del("Etag")
	h.Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	_, _ = w.Write(encode(map[string][]one{"errors": {{p.code, p.message}}}))
}
