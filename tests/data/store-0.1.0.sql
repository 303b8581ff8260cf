-- What pg_dump gave of a PostgreSQL database on which zonefold 0.1.0 ran the example clusters. Its replica was alive then.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE FUNCTION public.journal_anchors_move_on() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if tg_op = 'UPDATE' and new.seq > old.seq and new.account = old.account then
        return new;
    end if;
    raise exception 'the journal is append-only: its beginning moves on, never back';
end
$$;
CREATE FUNCTION public.journal_is_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if tg_op = 'DELETE' and exists (select 1 from journal_anchors where account = old.account and seq >= old.seq) then
        return old;
    end if;
    raise exception 'the journal is append-only: an entry cannot be changed or deleted';
end
$$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public._sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);
CREATE TABLE public.batches (
    journal_seq bigint NOT NULL,
    planned_at bigint NOT NULL,
    finished_at bigint,
    zone_id integer NOT NULL,
    applied integer,
    batch_id bytea NOT NULL,
    account text NOT NULL COLLATE pg_catalog."C",
    outcome text
);
CREATE TABLE public.changes (
    id bigint NOT NULL,
    zone_id integer NOT NULL,
    cluster_id integer NOT NULL,
    batch_id bytea NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    rtype text NOT NULL,
    change text NOT NULL
);
ALTER TABLE public.changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.claims (
    since bigint NOT NULL,
    zone_id integer NOT NULL,
    cluster_id integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.cluster_names (
    id integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C"
);
ALTER TABLE public.cluster_names ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.cluster_names_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.clusters (
    cluster_id integer NOT NULL,
    kube_system_uid text NOT NULL,
    epoch bigint NOT NULL,
    instance_id text NOT NULL,
    last_seq bigint NOT NULL,
    known bigint NOT NULL,
    session_at bigint NOT NULL
)
WITH (fillfactor='70');
CREATE TABLE public.counters (
    name text NOT NULL COLLATE pg_catalog."C",
    value bigint NOT NULL
);
CREATE TABLE public.endpoints (
    arrival bigint NOT NULL,
    updated_at bigint NOT NULL,
    cluster_id integer NOT NULL,
    verdict_zone integer,
    key_hash bytea NOT NULL,
    version bytea NOT NULL,
    body bytea NOT NULL,
    verdict text
)
WITH (fillfactor='85');
CREATE TABLE public.feed (
    seq bigint NOT NULL,
    at bigint NOT NULL,
    weight bigint NOT NULL,
    kind integer NOT NULL,
    origin bytea NOT NULL,
    payload bytea NOT NULL
);
ALTER TABLE ONLY public.feed ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE TABLE public.journal (
    seq bigint NOT NULL,
    account text NOT NULL COLLATE pg_catalog."C",
    hash bytea NOT NULL,
    entry text NOT NULL
);
CREATE TABLE public.journal_anchors (
    seq bigint NOT NULL,
    account text NOT NULL COLLATE pg_catalog."C",
    hash bytea NOT NULL
);
CREATE TABLE public.journal_heads (
    seq bigint NOT NULL,
    account text NOT NULL COLLATE pg_catalog."C",
    hash bytea NOT NULL
);
CREATE TABLE public.leases (
    epoch bigint NOT NULL,
    expires_at bigint NOT NULL,
    account text NOT NULL COLLATE pg_catalog."C",
    holder bytea
)
WITH (fillfactor='50');
CREATE TABLE public.records (
    observed_at bigint NOT NULL,
    zone_id integer NOT NULL,
    owner_cluster integer,
    sort_key bytea NOT NULL,
    owner_batch bytea,
    drift text,
    raw bytea NOT NULL
);
CREATE TABLE public.replicas (
    expires_at bigint NOT NULL,
    left_at bigint,
    replica bytea NOT NULL,
    address text NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.spend_horizons (
    until bigint NOT NULL,
    account text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.zones (
    id integer NOT NULL,
    private integer NOT NULL,
    visible integer NOT NULL,
    listed_at bigint,
    zone text NOT NULL COLLATE pg_catalog."C",
    account text NOT NULL COLLATE pg_catalog."C",
    environment text NOT NULL,
    name text NOT NULL
);
ALTER TABLE public.zones ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.zones_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
INSERT INTO public._sqlx_migrations VALUES (1, 'base', '2026-11-30 02:55:38.981311+00', true, '\x25e322f7b93e3d673e54923341a1675795f170f16748879a6eb9e8ee4e59c758a691263d7ed44bef750bb3234e6e7f47', 209634780);
INSERT INTO public.batches VALUES (1, 1796007339331, 1796007339351, 3, 1, '\x01a22a6125437c5cbef142071a6e0ccc', '111111111111', '{"outcome":"applied","change_id":"CANIIQAVA814U9EUIB5ZQ","request_id":"bd8c4cf7-ca5e-4818-8df5-049c25daebed"}');
INSERT INTO public.batches VALUES (1, 1796007339411, 1796007339423, 1, 1, '\x01a22a61259371b1b96b349fcdc00454', '333333333333', '{"outcome":"applied","change_id":"CULIFDBFR9CPNE4ZGJSAD","request_id":"c6f26a23-e9ed-45c2-a23c-917bd75761eb"}');
INSERT INTO public.batches VALUES (3, 1796007339613, 1796007339635, 3, 1, '\x01a22a61265d7d69b4925258795d9679', '111111111111', '{"outcome":"applied","change_id":"C8PTCB9T25ZD1CQ8B6IXE","request_id":"cd147003-e70d-4adf-8086-9469d8aaa3c3"}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (1, 3, 1, '\x01a22a6125437c5cbef142071a6e0ccc', 'app.dev.example.com.', 'A', '{"key":{"name":"app.dev.example.com","type":"A"},"after":{"name":"app.dev.example.com.","type":"A","ttl_secs":60,"values":["192.0.2.10"]},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"service","namespace":"shop","object":"app","dns_name":"app.dev.example.com","record_type":"A","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (2, 3, 1, '\x01a22a6125437c5cbef142071a6e0ccc', 'autodiscover.dev.example.com.', 'CNAME', '{"key":{"name":"autodiscover.dev.example.com","type":"CNAME"},"after":{"name":"autodiscover.dev.example.com.","type":"CNAME","ttl_secs":300,"values":["autodiscover.example.net."]},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"dnsendpoint","namespace":"platform","object":"mail","dns_name":"autodiscover.dev.example.com","record_type":"CNAME","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (3, 3, 1, '\x01a22a6125437c5cbef142071a6e0ccc', 'mail.dev.example.com.', 'MX', '{"key":{"name":"mail.dev.example.com","type":"MX"},"after":{"name":"mail.dev.example.com.","type":"MX","ttl_secs":3600,"values":["10 mx1.example.net.","20 mx2.example.net."]},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"dnsendpoint","namespace":"platform","object":"mail","dns_name":"mail.dev.example.com","record_type":"MX","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (4, 3, 1, '\x01a22a6125437c5cbef142071a6e0ccc', 'mail.dev.example.com.', 'TXT', '{"key":{"name":"mail.dev.example.com","type":"TXT"},"after":{"name":"mail.dev.example.com.","type":"TXT","ttl_secs":3600,"values":["\"v=spf1 include:_spf.example.net -all\""]},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"dnsendpoint","namespace":"platform","object":"mail","dns_name":"mail.dev.example.com","record_type":"TXT","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (5, 3, 1, '\x01a22a6125437c5cbef142071a6e0ccc', 'web.dev.example.com.', 'A', '{"key":{"name":"web.dev.example.com","type":"A"},"after":{"name":"web.dev.example.com.","type":"A","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-1234567890.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"web.dev.example.com","record_type":"CNAME","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (6, 3, 1, '\x01a22a6125437c5cbef142071a6e0ccc', 'web.dev.example.com.', 'AAAA', '{"key":{"name":"web.dev.example.com","type":"AAAA"},"after":{"name":"web.dev.example.com.","type":"AAAA","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-1234567890.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"web.dev.example.com","record_type":"CNAME","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (7, 1, 3, '\x01a22a61259371b1b96b349fcdc00454', 'api.prod.example.com.', 'A', '{"key":{"name":"api.prod.example.com","type":"A"},"after":{"name":"api.prod.example.com.","type":"A","ttl_secs":30,"values":["203.0.113.10"]},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"service","namespace":"shop","object":"api","dns_name":"api.prod.example.com","record_type":"A","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (8, 1, 3, '\x01a22a61259371b1b96b349fcdc00454', 'api.prod.example.com.', 'AAAA', '{"key":{"name":"api.prod.example.com","type":"AAAA"},"after":{"name":"api.prod.example.com.","type":"AAAA","ttl_secs":30,"values":["2001:db8:10::10"]},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"service","namespace":"shop","object":"api","dns_name":"api.prod.example.com","record_type":"AAAA","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (9, 1, 3, '\x01a22a61259371b1b96b349fcdc00454', 'checkout.prod.example.com.', 'A', '{"key":{"name":"checkout.prod.example.com","type":"A","set_identifier":"prod-east"},"after":{"name":"checkout.prod.example.com.","type":"A","set_identifier":"prod-east","weight":90,"ttl_secs":60,"values":["203.0.113.20"]},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"service","namespace":"shop","object":"checkout","dns_name":"checkout.prod.example.com","record_type":"A","set_identifier":"prod-east"}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (10, 1, 3, '\x01a22a61259371b1b96b349fcdc00454', 'prod.example.com.', 'A', '{"key":{"name":"prod.example.com","type":"A"},"after":{"name":"prod.example.com.","type":"A","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"prod.example.com","record_type":"CNAME","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (11, 1, 3, '\x01a22a61259371b1b96b349fcdc00454', 'prod.example.com.', 'AAAA', '{"key":{"name":"prod.example.com","type":"AAAA"},"after":{"name":"prod.example.com.","type":"AAAA","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"prod.example.com","record_type":"CNAME","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (12, 1, 3, '\x01a22a61259371b1b96b349fcdc00454', 'www.prod.example.com.', 'A', '{"key":{"name":"www.prod.example.com","type":"A"},"after":{"name":"www.prod.example.com.","type":"A","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"www.prod.example.com","record_type":"CNAME","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (13, 1, 3, '\x01a22a61259371b1b96b349fcdc00454', 'www.prod.example.com.', 'AAAA', '{"key":{"name":"www.prod.example.com","type":"AAAA"},"after":{"name":"www.prod.example.com.","type":"AAAA","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"www.prod.example.com","record_type":"CNAME","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (14, 3, 2, '\x01a22a61265d7d69b4925258795d9679', 'cafe.dev.example.com.', 'A', '{"key":{"name":"cafe.dev.example.com","type":"A"},"after":{"name":"cafe.dev.example.com.","type":"A","ttl_secs":300,"values":["198.51.100.30"]},"cause":{"motive":"wanted","cluster":"dev-west","endpoints":[{"source":"nginx-virtualserver","namespace":"cafe","object":"cafe","dns_name":"cafe.dev.example.com","record_type":"A","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (15, 3, 2, '\x01a22a61265d7d69b4925258795d9679', 'ledger.dev.example.com.', 'A', '{"key":{"name":"ledger.dev.example.com","type":"A"},"after":{"name":"ledger.dev.example.com.","type":"A","ttl_secs":300,"values":["198.51.100.21"]},"cause":{"motive":"wanted","cluster":"dev-west","endpoints":[{"source":"f5-transportserver","namespace":"shop","object":"ledger","dns_name":"ledger.dev.example.com","record_type":"A","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (16, 3, 2, '\x01a22a61265d7d69b4925258795d9679', 'legacy.dev.example.com.', 'A', '{"key":{"name":"legacy.dev.example.com","type":"A"},"after":{"name":"legacy.dev.example.com.","type":"A","ttl_secs":120,"values":["198.51.100.20"]},"cause":{"motive":"wanted","cluster":"dev-west","endpoints":[{"source":"f5-virtualserver","namespace":"shop","object":"legacy","dns_name":"legacy.dev.example.com","record_type":"A","set_identifier":""}]}}');
INSERT INTO public.changes OVERRIDING SYSTEM VALUE VALUES (17, 3, 2, '\x01a22a61265d7d69b4925258795d9679', 'old.dev.example.com.', 'A', '{"key":{"name":"old.dev.example.com","type":"A"},"after":{"name":"old.dev.example.com.","type":"A","ttl_secs":120,"values":["198.51.100.20"]},"cause":{"motive":"wanted","cluster":"dev-west","endpoints":[{"source":"f5-virtualserver","namespace":"shop","object":"legacy","dns_name":"old.dev.example.com","record_type":"A","set_identifier":""}]}}');
INSERT INTO public.claims VALUES (1796007339331, 3, 1, 'app.dev.example.com.');
INSERT INTO public.claims VALUES (1796007339331, 3, 1, 'autodiscover.dev.example.com.');
INSERT INTO public.claims VALUES (1796007339331, 3, 1, 'mail.dev.example.com.');
INSERT INTO public.claims VALUES (1796007339331, 3, 1, 'web.dev.example.com.');
INSERT INTO public.claims VALUES (1796007339410, 1, 3, 'prod.example.com.');
INSERT INTO public.claims VALUES (1796007339410, 1, 3, 'api.prod.example.com.');
INSERT INTO public.claims VALUES (1796007339410, 1, 3, 'checkout.prod.example.com.');
INSERT INTO public.claims VALUES (1796007339410, 1, 3, 'www.prod.example.com.');
INSERT INTO public.claims VALUES (1796007339359, 3, 2, 'cafe.dev.example.com.');
INSERT INTO public.claims VALUES (1796007339359, 3, 2, 'ledger.dev.example.com.');
INSERT INTO public.claims VALUES (1796007339359, 3, 2, 'legacy.dev.example.com.');
INSERT INTO public.claims VALUES (1796007339359, 3, 2, 'old.dev.example.com.');
INSERT INTO public.cluster_names OVERRIDING SYSTEM VALUE VALUES (1, 'dev-east');
INSERT INTO public.cluster_names OVERRIDING SYSTEM VALUE VALUES (2, 'dev-west');
INSERT INTO public.cluster_names OVERRIDING SYSTEM VALUE VALUES (3, 'prod-east');
INSERT INTO public.clusters VALUES (1, 'c2282060-09b7-44f3-b591-f70c5bd41c04', 1, '58b71a5f-c76e-4fb0-852d-6330d2127e00', 1, 1, 1796007339287);
INSERT INTO public.clusters VALUES (2, '44af6630-67b0-4e31-a0d7-29c53ac28aac', 1, '8f64d440-3e56-4d66-b650-c2eb14d925a2', 1, 1, 1796007339333);
INSERT INTO public.clusters VALUES (3, '075d8948-d3f0-4c14-804f-c8e3709d520a', 1, '1dd16ffe-8c21-4888-847f-598193c62bb8', 1, 1, 1796007339364);
INSERT INTO public.counters VALUES ('feed_cut', 0);
INSERT INTO public.counters VALUES ('arrival', 16);
INSERT INTO public.counters VALUES ('feed', 6);
INSERT INTO public.endpoints VALUES (1, 1796007339319, 1, 3, '\x70aad96553670f74d19200d8c947786bbe1317ae2d4f3c0e3ac7a0c3b95fffc9', '\x3cd66fdb303eda84d41a6c58bd147cc80994c85265ebdebed5ea9a17dcddd26a', '\x0107736572766963650473686f7003617070136170702e6465762e6578616d706c652e636f6d014100010a3139322e302e322e3130017800', NULL);
INSERT INTO public.endpoints VALUES (2, 1796007339319, 1, 3, '\x27afa9365e3b22c5b14334e0507df313f6b9bfe4896a2b78aaebe84e236022e7', '\x9ac2925df55ca8291e78a8c07bc45d4407a1d2df83769544212cf254212fe1a6', '\x010b646e73656e64706f696e7408706c6174666f726d046d61696c1c6175746f646973636f7665722e6465762e6578616d706c652e636f6d05434e414d450001186175746f646973636f7665722e6578616d706c652e6e65740000', NULL);
INSERT INTO public.endpoints VALUES (3, 1796007339319, 1, 3, '\x911a29d0c3525ea3fbc8c2f24a0f385eba2c60c8cee62e7fcbde27022833733c', '\xfca325b36d297c7e76655cab041bd75af4a48660fdefd6735aacd58402eb1c98', '\x010b646e73656e64706f696e7408706c6174666f726d046d61696c146d61696c2e6465762e6578616d706c652e636f6d0354585400012622763d7370663120696e636c7564653a5f7370662e6578616d706c652e6e6574202d616c6c2201a03800', NULL);
INSERT INTO public.endpoints VALUES (4, 1796007339319, 1, 3, '\xb72c091493dd61023234571bcabd88e39a8347f9cb112b14bed7dd1cbe8edd6f', '\x0f4d6aee8cf81a38c80360d65446a85a96d162de138f7b7c01096c4aabb7b45e', '\x010b646e73656e64706f696e7408706c6174666f726d046d61696c146d61696c2e6465762e6578616d706c652e636f6d024d580002123130206d78312e6578616d706c652e6e6574123230206d78322e6578616d706c652e6e657401a03800', NULL);
INSERT INTO public.endpoints VALUES (5, 1796007339319, 1, NULL, '\x2d2ff62cba35df2b729f3e982cfc4dd9ce051b8ad528271796a937a6ea1e3be2', '\x6eed81a80e03e8a996ed144f8d790eb157d230406d5a80f4280ff221d89ee3c0', '\x0107736572766963650473686f700473686f701073686f702e6578616d706c652e6f7267014100010a3139322e302e322e31310000', '{"state":"waiting","reason":"NO_ZONE","message":"no zone of the environment dev holds shop.example.org; the nearest are dev.example.com. Create the zone, widen the account''s zone selectors, or correct the name"}');
INSERT INTO public.endpoints VALUES (6, 1796007339319, 1, 3, '\x0f9368d60ca972e1d09da3fdd004e92112e546b70158670b0df6ea75b76576f3', '\xc9c74fcac40b762bd0777c0e1718ab1f6e778571f9517dd5e71df63a85412d5b', '\x0107696e67726573730473686f7003776562137765622e6465762e6578616d706c652e636f6d05434e414d450001336b38732d73686f702d7765622d313233343536373839302e65752d776573742d312e656c622e616d617a6f6e6177732e636f6d0000', NULL);
INSERT INTO public.endpoints VALUES (7, 1796007339346, 2, NULL, '\x70aad96553670f74d19200d8c947786bbe1317ae2d4f3c0e3ac7a0c3b95fffc9', '\xf592ddc7640cc8bf5ea027f1abbc9d735ce46557252bb4df24af3ab8464c04fe', '\x0107736572766963650473686f7003617070136170702e6465762e6578616d706c652e636f6d014100010d3139382e35312e3130302e3130017800', '{"state":"waiting","reason":"NAME_HELD","message":"app.dev.example.com in the zone dev.example.com is held by the cluster dev-east for service/shop/app; it passes on when that cluster gives it up","placement":{"account":"111111111111","zone":"ZDTGH6CSQ4J1MWV4N9QGP"}}');
INSERT INTO public.endpoints VALUES (8, 1796007339346, 2, 3, '\xa87c0aa99abba80949284d711488dca3fc103fb2b706bf87777a1373f408e204', '\x160062117f977f6960edbcf07083702f48442b2c4827a594692466c7df3aa6d7', '\x01136e67696e782d7669727475616c7365727665720463616665046361666514636166652e6465762e6578616d706c652e636f6d014100010d3139382e35312e3130302e333001d80400', NULL);
INSERT INTO public.endpoints VALUES (9, 1796007339346, 2, 3, '\x1accc87e8ac28c4085ba7c07129d7d0e48e640fc36197d2051b9fe1c5c84d60e', '\xfffbc10f45f4d222327177fffe7e9174281923368c6551ce1dcdc91128f771d4', '\x011266352d7472616e73706f72747365727665720473686f70066c6564676572166c65646765722e6465762e6578616d706c652e636f6d014100010d3139382e35312e3130302e32310000', NULL);
INSERT INTO public.endpoints VALUES (10, 1796007339346, 2, 3, '\x3a3b2dfa2a5be52e5e4aa5080e71bc32e656e18df66515c75207bf9bed79c381', '\x24cebec13b8704ef0cfabeca02bd3f8b55700fc5ec1db4f47d714cd13463d3d1', '\x011066352d7669727475616c7365727665720473686f70066c6567616379166c65676163792e6465762e6578616d706c652e636f6d014100010d3139382e35312e3130302e323001f00100', NULL);
INSERT INTO public.endpoints VALUES (11, 1796007339346, 2, 3, '\xc17f8f8eac27df848f69b69fd3407ea5d8a00c23508bb4c4c126e8d2bb492b6e', '\xaf2c138936033cf8fc0f64178bc50d9fcdb38e58c07f7a79753af655bd10abea', '\x011066352d7669727475616c7365727665720473686f70066c6567616379136f6c642e6465762e6578616d706c652e636f6d014100010d3139382e35312e3130302e323001f00100', NULL);
INSERT INTO public.endpoints VALUES (12, 1796007339383, 3, 1, '\x3b9b246d71aa24057e868a6108f1ef3799b00f0478dbed4956461d65dfcdad25', '\xf2fc89ad9c754bbaa52173927e42ea45faccd154571a11098e05078b3b8b217b', '\x0107736572766963650473686f7003617069146170692e70726f642e6578616d706c652e636f6d044141414100010f323030313a6462383a31303a3a3130013c00', NULL);
INSERT INTO public.endpoints VALUES (13, 1796007339383, 3, 1, '\xd44c6bdcb3610304cc96c8e7690edf7e4616b8cfd8dffa6d2401b87caaf67619', '\x392ec523a457c3e2919ebb1997fe4685c5a6673bedb2f992b8c21d78026bbbae', '\x0107736572766963650473686f7003617069146170692e70726f642e6578616d706c652e636f6d014100010c3230332e302e3131332e3130013c00', NULL);
INSERT INTO public.endpoints VALUES (14, 1796007339383, 3, 1, '\xa198e2ce80d63e198d84dfaa2c2e0c4f1b213cbac600bfafb8658eda7e752e9f', '\xe022435f32c0a87577dd122bdf1eae37f4ec2bd8644f9dadfe8e47d152101fab', '\x0107736572766963650473686f7008636865636b6f757419636865636b6f75742e70726f642e6578616d706c652e636f6d01410970726f642d65617374010c3230332e302e3131332e32300178010a6177732f776569676874023930', NULL);
INSERT INTO public.endpoints VALUES (15, 1796007339383, 3, 1, '\x3d8b9b0da83709b1cabf51911c2f395eac9d825dddecb77e037dbd5a4b71dcb0', '\x5561f2762867ffcd20dd9a50a1355eced8525403a060ae062c41d77d00d253f2', '\x0107696e67726573730473686f70037765621070726f642e6578616d706c652e636f6d05434e414d450001336b38732d73686f702d7765622d303938373635343332312e65752d776573742d312e656c622e616d617a6f6e6177732e636f6d0000', NULL);
INSERT INTO public.endpoints VALUES (16, 1796007339383, 3, 1, '\xeddb1b0708f16f0b97a1709680cf827cfe29cc9ea0dcb4684c73e62e8f098951', '\x660582c5967ecc2ae8113f636c14e8f10a9ff59db11ec02d8f2c294bded2edf1', '\x0107696e67726573730473686f7003776562147777772e70726f642e6578616d706c652e636f6d05434e414d450001336b38732d73686f702d7765622d303938373635343332312e65752d776573742d312e656c622e616d617a6f6e6177732e636f6d0000', NULL);
INSERT INTO public.feed VALUES (1, 1796007339294, 1, 2, '\xd08a1419c0cc471fb0c621235a1c5a60', '\x333333333333333333333333');
INSERT INTO public.feed VALUES (2, 1796007339298, 1, 2, '\xd08a1419c0cc471fb0c621235a1c5a60', '\x323232323232323232323232');
INSERT INTO public.feed VALUES (3, 1796007339301, 1, 2, '\xd08a1419c0cc471fb0c621235a1c5a60', '\x313131313131313131313131');
INSERT INTO public.feed VALUES (4, 1796007339330, 6, 1, '\xd08a1419c0cc471fb0c621235a1c5a60', '\x0602020202020200');
INSERT INTO public.feed VALUES (5, 1796007339351, 5, 1, '\xd08a1419c0cc471fb0c621235a1c5a60', '\x050e0202020200');
INSERT INTO public.feed VALUES (6, 1796007339399, 5, 1, '\xd08a1419c0cc471fb0c621235a1c5a60', '\x05180202020200');
INSERT INTO public.journal VALUES (1, '111111111111', '\x62bac5635c9c60f015a8edd44f3a8617135eba16da887cab9e93838ba6203663', '{"entry":"intent","batch":{"id":"01a22a61-2543-7c5c-bef1-42071a6e0ccc","account":"111111111111","zone":"ZDTGH6CSQ4J1MWV4N9QGP","planned_at":1796007339331,"units":[{"changes":[{"key":{"name":"app.dev.example.com","type":"A"},"after":{"name":"app.dev.example.com.","type":"A","ttl_secs":60,"values":["192.0.2.10"]},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"service","namespace":"shop","object":"app","dns_name":"app.dev.example.com","record_type":"A","set_identifier":""}]}}]},{"changes":[{"key":{"name":"autodiscover.dev.example.com","type":"CNAME"},"after":{"name":"autodiscover.dev.example.com.","type":"CNAME","ttl_secs":300,"values":["autodiscover.example.net."]},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"dnsendpoint","namespace":"platform","object":"mail","dns_name":"autodiscover.dev.example.com","record_type":"CNAME","set_identifier":""}]}}]},{"changes":[{"key":{"name":"mail.dev.example.com","type":"MX"},"after":{"name":"mail.dev.example.com.","type":"MX","ttl_secs":3600,"values":["10 mx1.example.net.","20 mx2.example.net."]},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"dnsendpoint","namespace":"platform","object":"mail","dns_name":"mail.dev.example.com","record_type":"MX","set_identifier":""}]}}]},{"changes":[{"key":{"name":"mail.dev.example.com","type":"TXT"},"after":{"name":"mail.dev.example.com.","type":"TXT","ttl_secs":3600,"values":["\"v=spf1 include:_spf.example.net -all\""]},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"dnsendpoint","namespace":"platform","object":"mail","dns_name":"mail.dev.example.com","record_type":"TXT","set_identifier":""}]}}]},{"changes":[{"key":{"name":"web.dev.example.com","type":"A"},"after":{"name":"web.dev.example.com.","type":"A","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-1234567890.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"web.dev.example.com","record_type":"CNAME","set_identifier":""}]}}]},{"changes":[{"key":{"name":"web.dev.example.com","type":"AAAA"},"after":{"name":"web.dev.example.com.","type":"AAAA","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-1234567890.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"dev-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"web.dev.example.com","record_type":"CNAME","set_identifier":""}]}}]}],"wire":[{"action":"CREATE","set":{"name":"app.dev.example.com.","type":"A","ttl_secs":60,"values":["192.0.2.10"]}},{"action":"CREATE","set":{"name":"autodiscover.dev.example.com.","type":"CNAME","ttl_secs":300,"values":["autodiscover.example.net."]}},{"action":"CREATE","set":{"name":"mail.dev.example.com.","type":"MX","ttl_secs":3600,"values":["10 mx1.example.net.","20 mx2.example.net."]}},{"action":"CREATE","set":{"name":"mail.dev.example.com.","type":"TXT","ttl_secs":3600,"values":["\"v=spf1 include:_spf.example.net -all\""]}},{"action":"CREATE","set":{"name":"web.dev.example.com.","type":"A","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-1234567890.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}}},{"action":"CREATE","set":{"name":"web.dev.example.com.","type":"AAAA","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-1234567890.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}}}]},"claims":[{"zone":"ZDTGH6CSQ4J1MWV4N9QGP","name":"app.dev.example.com","cluster":"dev-east"},{"zone":"ZDTGH6CSQ4J1MWV4N9QGP","name":"autodiscover.dev.example.com","cluster":"dev-east"},{"zone":"ZDTGH6CSQ4J1MWV4N9QGP","name":"mail.dev.example.com","cluster":"dev-east"},{"zone":"ZDTGH6CSQ4J1MWV4N9QGP","name":"web.dev.example.com","cluster":"dev-east"}]}');
INSERT INTO public.journal VALUES (2, '111111111111', '\xa0fccbbc10da23d8a305f3f095353ea8ed361ca992a1bfb89026225818c949e3', '{"entry":"outcome","batch":"01a22a61-2543-7c5c-bef1-42071a6e0ccc","at":1796007339351,"outcome":{"outcome":"applied","change_id":"CANIIQAVA814U9EUIB5ZQ","request_id":"bd8c4cf7-ca5e-4818-8df5-049c25daebed"},"claims":[]}');
INSERT INTO public.journal VALUES (1, '333333333333', '\x20c64fd898ca39e8dfc6d01499285e74824fe5e8387a8642a0f8eea43bf3f21d', '{"entry":"intent","batch":{"id":"01a22a61-2593-71b1-b96b-349fcdc00454","account":"333333333333","zone":"ZY4MOMVUDJZJQCOBXZ5GB","planned_at":1796007339411,"units":[{"changes":[{"key":{"name":"api.prod.example.com","type":"A"},"after":{"name":"api.prod.example.com.","type":"A","ttl_secs":30,"values":["203.0.113.10"]},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"service","namespace":"shop","object":"api","dns_name":"api.prod.example.com","record_type":"A","set_identifier":""}]}}]},{"changes":[{"key":{"name":"api.prod.example.com","type":"AAAA"},"after":{"name":"api.prod.example.com.","type":"AAAA","ttl_secs":30,"values":["2001:db8:10::10"]},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"service","namespace":"shop","object":"api","dns_name":"api.prod.example.com","record_type":"AAAA","set_identifier":""}]}}]},{"changes":[{"key":{"name":"checkout.prod.example.com","type":"A","set_identifier":"prod-east"},"after":{"name":"checkout.prod.example.com.","type":"A","set_identifier":"prod-east","weight":90,"ttl_secs":60,"values":["203.0.113.20"]},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"service","namespace":"shop","object":"checkout","dns_name":"checkout.prod.example.com","record_type":"A","set_identifier":"prod-east"}]}}]},{"changes":[{"key":{"name":"prod.example.com","type":"A"},"after":{"name":"prod.example.com.","type":"A","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"prod.example.com","record_type":"CNAME","set_identifier":""}]}}]},{"changes":[{"key":{"name":"prod.example.com","type":"AAAA"},"after":{"name":"prod.example.com.","type":"AAAA","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"prod.example.com","record_type":"CNAME","set_identifier":""}]}}]},{"changes":[{"key":{"name":"www.prod.example.com","type":"A"},"after":{"name":"www.prod.example.com.","type":"A","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"www.prod.example.com","record_type":"CNAME","set_identifier":""}]}}]},{"changes":[{"key":{"name":"www.prod.example.com","type":"AAAA"},"after":{"name":"www.prod.example.com.","type":"AAAA","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}},"cause":{"motive":"wanted","cluster":"prod-east","endpoints":[{"source":"ingress","namespace":"shop","object":"web","dns_name":"www.prod.example.com","record_type":"CNAME","set_identifier":""}]}}]}],"wire":[{"action":"CREATE","set":{"name":"api.prod.example.com.","type":"A","ttl_secs":30,"values":["203.0.113.10"]}},{"action":"CREATE","set":{"name":"api.prod.example.com.","type":"AAAA","ttl_secs":30,"values":["2001:db8:10::10"]}},{"action":"CREATE","set":{"name":"checkout.prod.example.com.","type":"A","set_identifier":"prod-east","weight":90,"ttl_secs":60,"values":["203.0.113.20"]}},{"action":"CREATE","set":{"name":"prod.example.com.","type":"A","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}}},{"action":"CREATE","set":{"name":"prod.example.com.","type":"AAAA","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}}},{"action":"CREATE","set":{"name":"www.prod.example.com.","type":"A","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}}},{"action":"CREATE","set":{"name":"www.prod.example.com.","type":"AAAA","alias":{"zone_id":"Z32O12XQLNTSW2","name":"k8s-shop-web-0987654321.eu-west-1.elb.amazonaws.com.","evaluate_target_health":true}}}]},"claims":[{"zone":"ZY4MOMVUDJZJQCOBXZ5GB","name":"prod.example.com","cluster":"prod-east"},{"zone":"ZY4MOMVUDJZJQCOBXZ5GB","name":"api.prod.example.com","cluster":"prod-east"},{"zone":"ZY4MOMVUDJZJQCOBXZ5GB","name":"checkout.prod.example.com","cluster":"prod-east"},{"zone":"ZY4MOMVUDJZJQCOBXZ5GB","name":"www.prod.example.com","cluster":"prod-east"}]}');
INSERT INTO public.journal VALUES (2, '333333333333', '\xbd376ac3e0dd8827ac9fe826d1b5da4397bab710b98c3f792325c84658f00317', '{"entry":"outcome","batch":"01a22a61-2593-71b1-b96b-349fcdc00454","at":1796007339423,"outcome":{"outcome":"applied","change_id":"CULIFDBFR9CPNE4ZGJSAD","request_id":"c6f26a23-e9ed-45c2-a23c-917bd75761eb"},"claims":[]}');
INSERT INTO public.journal VALUES (3, '111111111111', '\x206e7bd843b6cc66ada2448e5267d566a75432dd0757c55175f75f2e4143a552', '{"entry":"intent","batch":{"id":"01a22a61-265d-7d69-b492-5258795d9679","account":"111111111111","zone":"ZDTGH6CSQ4J1MWV4N9QGP","planned_at":1796007339613,"units":[{"changes":[{"key":{"name":"cafe.dev.example.com","type":"A"},"after":{"name":"cafe.dev.example.com.","type":"A","ttl_secs":300,"values":["198.51.100.30"]},"cause":{"motive":"wanted","cluster":"dev-west","endpoints":[{"source":"nginx-virtualserver","namespace":"cafe","object":"cafe","dns_name":"cafe.dev.example.com","record_type":"A","set_identifier":""}]}}]},{"changes":[{"key":{"name":"ledger.dev.example.com","type":"A"},"after":{"name":"ledger.dev.example.com.","type":"A","ttl_secs":300,"values":["198.51.100.21"]},"cause":{"motive":"wanted","cluster":"dev-west","endpoints":[{"source":"f5-transportserver","namespace":"shop","object":"ledger","dns_name":"ledger.dev.example.com","record_type":"A","set_identifier":""}]}}]},{"changes":[{"key":{"name":"legacy.dev.example.com","type":"A"},"after":{"name":"legacy.dev.example.com.","type":"A","ttl_secs":120,"values":["198.51.100.20"]},"cause":{"motive":"wanted","cluster":"dev-west","endpoints":[{"source":"f5-virtualserver","namespace":"shop","object":"legacy","dns_name":"legacy.dev.example.com","record_type":"A","set_identifier":""}]}}]},{"changes":[{"key":{"name":"old.dev.example.com","type":"A"},"after":{"name":"old.dev.example.com.","type":"A","ttl_secs":120,"values":["198.51.100.20"]},"cause":{"motive":"wanted","cluster":"dev-west","endpoints":[{"source":"f5-virtualserver","namespace":"shop","object":"legacy","dns_name":"old.dev.example.com","record_type":"A","set_identifier":""}]}}]}],"wire":[{"action":"CREATE","set":{"name":"cafe.dev.example.com.","type":"A","ttl_secs":300,"values":["198.51.100.30"]}},{"action":"CREATE","set":{"name":"ledger.dev.example.com.","type":"A","ttl_secs":300,"values":["198.51.100.21"]}},{"action":"CREATE","set":{"name":"legacy.dev.example.com.","type":"A","ttl_secs":120,"values":["198.51.100.20"]}},{"action":"CREATE","set":{"name":"old.dev.example.com.","type":"A","ttl_secs":120,"values":["198.51.100.20"]}}]},"claims":[{"zone":"ZDTGH6CSQ4J1MWV4N9QGP","name":"cafe.dev.example.com","cluster":"dev-west"},{"zone":"ZDTGH6CSQ4J1MWV4N9QGP","name":"ledger.dev.example.com","cluster":"dev-west"},{"zone":"ZDTGH6CSQ4J1MWV4N9QGP","name":"legacy.dev.example.com","cluster":"dev-west"},{"zone":"ZDTGH6CSQ4J1MWV4N9QGP","name":"old.dev.example.com","cluster":"dev-west"}]}');
INSERT INTO public.journal VALUES (4, '111111111111', '\x56c7958d5627eaeda8a071482c48ebab5f9986c977a8b983b632fe8e4a571c9d', '{"entry":"outcome","batch":"01a22a61-265d-7d69-b492-5258795d9679","at":1796007339635,"outcome":{"outcome":"applied","change_id":"C8PTCB9T25ZD1CQ8B6IXE","request_id":"cd147003-e70d-4adf-8086-9469d8aaa3c3"},"claims":[]}');
INSERT INTO public.journal_heads VALUES (2, '333333333333', '\xbd376ac3e0dd8827ac9fe826d1b5da4397bab710b98c3f792325c84658f00317');
INSERT INTO public.journal_heads VALUES (4, '111111111111', '\x56c7958d5627eaeda8a071482c48ebab5f9986c977a8b983b632fe8e4a571c9d');
INSERT INTO public.leases VALUES (1, 1796007374301, '111111111111', '\xd08a1419c0cc471fb0c621235a1c5a60');
INSERT INTO public.leases VALUES (1, 1796007374301, '222222222222', '\xd08a1419c0cc471fb0c621235a1c5a60');
INSERT INTO public.leases VALUES (1, 1796007374301, '333333333333', '\xd08a1419c0cc471fb0c621235a1c5a60');
INSERT INTO public.records VALUES (1796007339295, 1, NULL, '\x636f6d2e6578616d706c652e70726f642e004e5300', NULL, NULL, '\x010001808c1504156e732d3433332e617773646e732d34392e636f6d2e156e732d3738392e617773646e732d32312e6e65742e166e732d313036342e617773646e732d34302e6f72672e186e732d313832332e617773646e732d33312e636f2e756b2e000000');
INSERT INTO public.records VALUES (1796007339295, 1, NULL, '\x636f6d2e6578616d706c652e70726f642e00534f4100', NULL, NULL, '\x010001880e014c6e732d3433332e617773646e732d34392e636f6d2e20617773646e732d686f73746d61737465722e616d617a6f6e2e636f6d2e20312037323030203930302031323039363030203836343030000000');
INSERT INTO public.records VALUES (1796007339301, 2, NULL, '\x636f6d2e6578616d706c652e73746167652e004e5300', NULL, NULL, '\x010001808c1504156e732d3435332e617773646e732d30352e636f6d2e156e732d3639392e617773646e732d35392e6e65742e166e732d313137392e617773646e732d32372e6f72672e186e732d313737352e617773646e732d34372e636f2e756b2e000000');
INSERT INTO public.records VALUES (1796007339301, 2, NULL, '\x636f6d2e6578616d706c652e73746167652e00534f4100', NULL, NULL, '\x010001880e014c6e732d3435332e617773646e732d30352e636f6d2e20617773646e732d686f73746d61737465722e616d617a6f6e2e636f6d2e20312037323030203930302031323039363030203836343030000000');
INSERT INTO public.records VALUES (1796007339302, 3, NULL, '\x636f6d2e6578616d706c652e6465762e004e5300', NULL, NULL, '\x010001808c1504156e732d3338302e617773646e732d36302e636f6d2e156e732d3734362e617773646e732d34322e6e65742e166e732d313133332e617773646e732d34352e6f72672e186e732d313534312e617773646e732d30352e636f2e756b2e000000');
INSERT INTO public.records VALUES (1796007339302, 3, NULL, '\x636f6d2e6578616d706c652e6465762e00534f4100', NULL, NULL, '\x010001880e014c6e732d3338302e617773646e732d36302e636f6d2e20617773646e732d686f73746d61737465722e616d617a6f6e2e636f6d2e20312037323030203930302031323039363030203836343030000000');
INSERT INTO public.records VALUES (1796007339351, 3, 1, '\x636f6d2e6578616d706c652e6465762e6170702e004100', '\x01a22a6125437c5cbef142071a6e0ccc', NULL, '\x01000178010a3139322e302e322e3130000000');
INSERT INTO public.records VALUES (1796007339351, 3, 1, '\x636f6d2e6578616d706c652e6465762e6175746f646973636f7665722e00434e414d4500', '\x01a22a6125437c5cbef142071a6e0ccc', NULL, '\x010001d80401196175746f646973636f7665722e6578616d706c652e6e65742e000000');
INSERT INTO public.records VALUES (1796007339351, 3, 1, '\x636f6d2e6578616d706c652e6465762e6d61696c2e004d5800', '\x01a22a6125437c5cbef142071a6e0ccc', NULL, '\x010001a03802133130206d78312e6578616d706c652e6e65742e133230206d78322e6578616d706c652e6e65742e000000');
INSERT INTO public.records VALUES (1796007339351, 3, 1, '\x636f6d2e6578616d706c652e6465762e6d61696c2e0054585400', '\x01a22a6125437c5cbef142071a6e0ccc', NULL, '\x010001a038012622763d7370663120696e636c7564653a5f7370662e6578616d706c652e6e6574202d616c6c22000000');
INSERT INTO public.records VALUES (1796007339351, 3, 1, '\x636f6d2e6578616d706c652e6465762e7765622e004100', '\x01a22a6125437c5cbef142071a6e0ccc', NULL, '\x010000000000010e5a33324f313258514c4e54535732346b38732d73686f702d7765622d313233343536373839302e65752d776573742d312e656c622e616d617a6f6e6177732e636f6d2e01');
INSERT INTO public.records VALUES (1796007339351, 3, 1, '\x636f6d2e6578616d706c652e6465762e7765622e004141414100', '\x01a22a6125437c5cbef142071a6e0ccc', NULL, '\x010000000000010e5a33324f313258514c4e54535732346b38732d73686f702d7765622d313233343536373839302e65752d776573742d312e656c622e616d617a6f6e6177732e636f6d2e01');
INSERT INTO public.records VALUES (1796007339423, 1, 3, '\x636f6d2e6578616d706c652e70726f642e004100', '\x01a22a61259371b1b96b349fcdc00454', NULL, '\x010000000000010e5a33324f313258514c4e54535732346b38732d73686f702d7765622d303938373635343332312e65752d776573742d312e656c622e616d617a6f6e6177732e636f6d2e01');
INSERT INTO public.records VALUES (1796007339423, 1, 3, '\x636f6d2e6578616d706c652e70726f642e004141414100', '\x01a22a61259371b1b96b349fcdc00454', NULL, '\x010000000000010e5a33324f313258514c4e54535732346b38732d73686f702d7765622d303938373635343332312e65752d776573742d312e656c622e616d617a6f6e6177732e636f6d2e01');
INSERT INTO public.records VALUES (1796007339423, 1, 3, '\x636f6d2e6578616d706c652e70726f642e6170692e004100', '\x01a22a61259371b1b96b349fcdc00454', NULL, '\x0100013c010c3230332e302e3131332e3130000000');
INSERT INTO public.records VALUES (1796007339423, 1, 3, '\x636f6d2e6578616d706c652e70726f642e6170692e004141414100', '\x01a22a61259371b1b96b349fcdc00454', NULL, '\x0100013c010f323030313a6462383a31303a3a3130000000');
INSERT INTO public.records VALUES (1796007339423, 1, 3, '\x636f6d2e6578616d706c652e70726f642e636865636b6f75742e0041000170726f642d65617374', '\x01a22a61259371b1b96b349fcdc00454', NULL, '\x01000178010c3230332e302e3131332e323001b4010000');
INSERT INTO public.records VALUES (1796007339423, 1, 3, '\x636f6d2e6578616d706c652e70726f642e7777772e004100', '\x01a22a61259371b1b96b349fcdc00454', NULL, '\x010000000000010e5a33324f313258514c4e54535732346b38732d73686f702d7765622d303938373635343332312e65752d776573742d312e656c622e616d617a6f6e6177732e636f6d2e01');
INSERT INTO public.records VALUES (1796007339423, 1, 3, '\x636f6d2e6578616d706c652e70726f642e7777772e004141414100', '\x01a22a61259371b1b96b349fcdc00454', NULL, '\x010000000000010e5a33324f313258514c4e54535732346b38732d73686f702d7765622d303938373635343332312e65752d776573742d312e656c622e616d617a6f6e6177732e636f6d2e01');
INSERT INTO public.records VALUES (1796007339635, 3, 2, '\x636f6d2e6578616d706c652e6465762e636166652e004100', '\x01a22a61265d7d69b4925258795d9679', NULL, '\x010001d804010d3139382e35312e3130302e3330000000');
INSERT INTO public.records VALUES (1796007339635, 3, 2, '\x636f6d2e6578616d706c652e6465762e6c65646765722e004100', '\x01a22a61265d7d69b4925258795d9679', NULL, '\x010001d804010d3139382e35312e3130302e3231000000');
INSERT INTO public.records VALUES (1796007339635, 3, 2, '\x636f6d2e6578616d706c652e6465762e6c65676163792e004100', '\x01a22a61265d7d69b4925258795d9679', NULL, '\x010001f001010d3139382e35312e3130302e3230000000');
INSERT INTO public.records VALUES (1796007339635, 3, 2, '\x636f6d2e6578616d706c652e6465762e6f6c642e004100', '\x01a22a61265d7d69b4925258795d9679', NULL, '\x010001f001010d3139382e35312e3130302e3230000000');
INSERT INTO public.replicas VALUES (1796007374301, NULL, '\xd08a1419c0cc471fb0c621235a1c5a60', '127.0.0.1:7080');
INSERT INTO public.spend_horizons VALUES (1796007341280, '222222222222');
INSERT INTO public.spend_horizons VALUES (1796007343424, '333333333333');
INSERT INTO public.spend_horizons VALUES (1796007347362, '111111111111');
INSERT INTO public.zones OVERRIDING SYSTEM VALUE VALUES (1, 0, 1, 1796007339295, 'ZY4MOMVUDJZJQCOBXZ5GB', '333333333333', 'prod', 'prod.example.com.');
INSERT INTO public.zones OVERRIDING SYSTEM VALUE VALUES (2, 0, 1, 1796007339301, 'ZO6SL9RRVLEVK36CRBZHH', '222222222222', 'stage', 'stage.example.com.');
INSERT INTO public.zones OVERRIDING SYSTEM VALUE VALUES (3, 0, 1, 1796007339302, 'ZDTGH6CSQ4J1MWV4N9QGP', '111111111111', 'dev', 'dev.example.com.');
SELECT pg_catalog.setval('public.changes_id_seq', 17, true);
SELECT pg_catalog.setval('public.cluster_names_id_seq', 3, true);
SELECT pg_catalog.setval('public.zones_id_seq', 3, true);
ALTER TABLE ONLY public._sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (batch_id);
ALTER TABLE ONLY public.changes
    ADD CONSTRAINT changes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.claims
    ADD CONSTRAINT claims_pkey PRIMARY KEY (zone_id, name);
ALTER TABLE ONLY public.cluster_names
    ADD CONSTRAINT cluster_names_name_key UNIQUE (name);
ALTER TABLE ONLY public.cluster_names
    ADD CONSTRAINT cluster_names_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.clusters
    ADD CONSTRAINT clusters_pkey PRIMARY KEY (cluster_id);
ALTER TABLE ONLY public.counters
    ADD CONSTRAINT counters_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.endpoints
    ADD CONSTRAINT endpoints_pkey PRIMARY KEY (cluster_id, key_hash);
ALTER TABLE ONLY public.feed
    ADD CONSTRAINT feed_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.journal_anchors
    ADD CONSTRAINT journal_anchors_pkey PRIMARY KEY (account);
ALTER TABLE ONLY public.journal_heads
    ADD CONSTRAINT journal_heads_pkey PRIMARY KEY (account);
ALTER TABLE ONLY public.journal
    ADD CONSTRAINT journal_pkey PRIMARY KEY (account, seq);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (account);
ALTER TABLE ONLY public.records
    ADD CONSTRAINT records_pkey PRIMARY KEY (zone_id, sort_key);
ALTER TABLE ONLY public.replicas
    ADD CONSTRAINT replicas_pkey PRIMARY KEY (replica);
ALTER TABLE ONLY public.spend_horizons
    ADD CONSTRAINT spend_horizons_pkey PRIMARY KEY (account);
ALTER TABLE ONLY public.zones
    ADD CONSTRAINT zones_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.zones
    ADD CONSTRAINT zones_zone_key UNIQUE (zone);
CREATE INDEX batches_by_account ON public.batches USING btree (account, journal_seq);
CREATE INDEX batches_open ON public.batches USING btree (account, journal_seq) WHERE (outcome IS NULL);
CREATE INDEX changes_by_batch ON public.changes USING btree (batch_id);
CREATE INDEX changes_by_cluster ON public.changes USING btree (cluster_id, id);
CREATE INDEX changes_by_name ON public.changes USING btree (name, zone_id, id);
CREATE INDEX changes_by_zone ON public.changes USING btree (zone_id, id);
CREATE UNIQUE INDEX endpoints_by_arrival ON public.endpoints USING btree (arrival);
CREATE TRIGGER journal_anchors_are_kept BEFORE DELETE OR UPDATE ON public.journal_anchors FOR EACH ROW EXECUTE FUNCTION public.journal_anchors_move_on();
CREATE TRIGGER journal_anchors_are_not_truncated BEFORE TRUNCATE ON public.journal_anchors FOR EACH STATEMENT EXECUTE FUNCTION public.journal_anchors_move_on();
CREATE TRIGGER journal_is_not_changed BEFORE DELETE OR UPDATE ON public.journal FOR EACH ROW EXECUTE FUNCTION public.journal_is_append_only();
CREATE TRIGGER journal_is_not_truncated BEFORE TRUNCATE ON public.journal FOR EACH STATEMENT EXECUTE FUNCTION public.journal_is_append_only();
ALTER TABLE ONLY public.batches
    ADD CONSTRAINT batches_zone_id_fkey FOREIGN KEY (zone_id) REFERENCES public.zones(id);
ALTER TABLE ONLY public.changes
    ADD CONSTRAINT changes_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES public.batches(batch_id);
ALTER TABLE ONLY public.changes
    ADD CONSTRAINT changes_cluster_id_fkey FOREIGN KEY (cluster_id) REFERENCES public.cluster_names(id);
ALTER TABLE ONLY public.changes
    ADD CONSTRAINT changes_zone_id_fkey FOREIGN KEY (zone_id) REFERENCES public.zones(id);
ALTER TABLE ONLY public.claims
    ADD CONSTRAINT claims_cluster_id_fkey FOREIGN KEY (cluster_id) REFERENCES public.cluster_names(id);
ALTER TABLE ONLY public.claims
    ADD CONSTRAINT claims_zone_id_fkey FOREIGN KEY (zone_id) REFERENCES public.zones(id);
ALTER TABLE ONLY public.clusters
    ADD CONSTRAINT clusters_cluster_id_fkey FOREIGN KEY (cluster_id) REFERENCES public.cluster_names(id);
ALTER TABLE ONLY public.records
    ADD CONSTRAINT records_owner_cluster_fkey FOREIGN KEY (owner_cluster) REFERENCES public.cluster_names(id);
ALTER TABLE ONLY public.records
    ADD CONSTRAINT records_zone_id_fkey FOREIGN KEY (zone_id) REFERENCES public.zones(id);
