// An OpenID Connect provider that others wrote and certified, as the tests need it. It reads its port, its client and its people from a
// file; the people are read again for each sign-in, and its keys are new at each start.
//
//   node provider.mjs SETTINGS.json    with the package oidc-provider in the folder that OIDC_PROVIDER_PACKAGES names
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const packages = process.env.OIDC_PROVIDER_PACKAGES;
const { default: Provider } = await import(pathToFileURL(`${packages}/node_modules/oidc-provider/lib/index.js`));
const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const people = () => JSON.parse(readFileSync(settings.people, 'utf8'));

const key = (type, options, alg) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg,
});

const provider = new Provider(settings.issuer, {
  clients: [{
    client_id: settings.client_id,
    ...(settings.client_secret && { client_secret: settings.client_secret }),
    token_endpoint_auth_method: settings.client_secret ? settings.auth_method ?? 'client_secret_basic' : 'none',
    redirect_uris: settings.redirect_uris,
    id_token_signed_response_alg: settings.algorithm ?? 'RS256',
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  jwks: { keys: [key('rsa', { modulusLength: 2048 }, 'RS256'), key('ec', { namedCurve: 'P-256' }, 'ES256')] },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
  scopes: ['openid', 'profile', 'email', 'groups'],
  claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], groups: ['groups'] },
  // Where claims stand: in the id token, or at the userinfo endpoint alone.
  conformIdTokenClaims: !settings.claims_in_id_token,
  pkce: { required: () => true, methods: ['S256'] },
  cookies: { keys: [randomUUID()] },
  findAccount: (_context, id) => {
    const person = people()[id];
    return person && { accountId: id, claims: () => ({ sub: id, ...person }) };
  },
});
provider.listen(settings.port, '127.0.0.1', () => console.log(`listening at ${settings.issuer}`));
