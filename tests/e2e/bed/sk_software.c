/*
 * A security key of software, for ssh-keygen -w and ssh-agent -P (openssh-portable, sk-api.h).
 * Its key handle is the private key itself: for tests, and for nothing else. Every touch is granted at once.
 */
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ED25519 0x01
#define FAILED (-1)
#define UNSUPPORTED (-2)
#define USER_PRESENT 0x01

struct sk_enroll_response {
    uint8_t flags;
    uint8_t *public_key;
    size_t public_key_len;
    uint8_t *key_handle;
    size_t key_handle_len;
    uint8_t *signature;
    size_t signature_len;
    uint8_t *attestation_cert;
    size_t attestation_cert_len;
    uint8_t *authdata;
    size_t authdata_len;
};

struct sk_sign_response {
    uint8_t flags;
    uint32_t counter;
    uint8_t *sig_r;
    size_t sig_r_len;
    uint8_t *sig_s;
    size_t sig_s_len;
};

uint32_t sk_api_version(void) { return SK_VERSION; }

int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application,
              uint8_t flags, const char *pin, void **options, struct sk_enroll_response **response)
{
    struct sk_enroll_response *r;
    EVP_PKEY *key;
    size_t length = 32;

    (void)challenge, (void)challenge_len, (void)application, (void)pin, (void)options;
    if (alg != ED25519)
        return UNSUPPORTED;
    if ((key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")) == NULL || (r = calloc(1, sizeof *r)) == NULL)
        return FAILED;
    r->flags = flags;
    r->public_key = malloc(32);
    r->key_handle = malloc(32);
    r->signature = calloc(1, 64);
    r->signature_len = 64;
    if (EVP_PKEY_get_raw_public_key(key, r->public_key, &length) != 1)
        return FAILED;
    r->public_key_len = length;
    length = 32;
    if (EVP_PKEY_get_raw_private_key(key, r->key_handle, &length) != 1)
        return FAILED;
    r->key_handle_len = length;
    EVP_PKEY_free(key);
    *response = r;
    return 0;
}

int sk_sign(uint32_t alg, const uint8_t *data, size_t data_len, const char *application,
            const uint8_t *key_handle, size_t key_handle_len, uint8_t flags, const char *pin, void **options,
            struct sk_sign_response **response)
{
    uint8_t message[32 + 1 + 4 + 32] = {0};
    struct sk_sign_response *r;
    EVP_PKEY *key;
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    (void)pin, (void)options;
    if (alg != ED25519)
        return UNSUPPORTED;
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key_handle, key_handle_len);
    if (key == NULL || md == NULL || (r = calloc(1, sizeof *r)) == NULL)
        return FAILED;
    SHA256((const uint8_t *)application, strlen(application), message);
    message[32] = flags & USER_PRESENT;
    message[36] = 7; /* the counter, big endian */
    SHA256(data, data_len, message + 37);
    r->flags = message[32];
    r->counter = 7;
    r->sig_r = malloc(64);
    r->sig_r_len = 64;
    if (EVP_DigestSignInit(md, NULL, NULL, NULL, key) != 1 ||
        EVP_DigestSign(md, r->sig_r, &r->sig_r_len, message, sizeof message) != 1)
        return FAILED;
    EVP_MD_CTX_free(md);
    EVP_PKEY_free(key);
    *response = r;
    return 0;
}

int sk_load_resident_keys(const char *pin, void **options, void ***keys, size_t *count)
{
    (void)pin, (void)options, (void)keys, (void)count;
    return UNSUPPORTED;
}
