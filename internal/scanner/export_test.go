package scanner

import (
	"context"
	"os"

	"gorm.io/gorm"
)

// MatchInterrupted holds an SBOM against the database in dir, whose connection
// ends when it was opened.
func MatchInterrupted(ctx context.Context, dir, document string) error {
	d, err := openDatabase(ctx, dir)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	connection, err := d.reader.(interface{ GetDB() *gorm.DB }).GetDB().DB()
	if err == nil {
		err = connection.Close()
	}
	if err == nil {
		_, err = d.one(ctx, text, nil)
	}
	return err
}
