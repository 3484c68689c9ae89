/* lib/model/usage-hash.c - the hash of a record (libcrypto) */
#include <errno.h>
#include <openssl/evp.h>

#include "lib/model/usage.h"

int usage_hash(const struct usage_record *r, uint8_t ret[static USAGE_HASH])
{
	static EVP_MD *sha256; /* fetching it costs more than using it */
	char text[USAGE_TEXT_SIZE];
	size_t len = usage_text(r, text);

	if (!sha256)
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	return sha256 && EVP_Digest(text, len, ret, NULL, sha256, NULL) ? 0 : -ENOMEM;
}
