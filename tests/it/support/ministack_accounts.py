"""Makes the broker's user, and a zone and a role in each account, as an operator would with the AWS command line."""

import json
import sys

from botocore.config import Config
from botocore.session import Session

wanted = json.loads(sys.argv[1])


def client(service, account):
    return Session().create_client(
        service,
        region_name="us-east-1",
        endpoint_url=wanted["endpoint"],
        aws_access_key_id=account,
        aws_secret_access_key=wanted["root_secret"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


operations = wanted["operations"]
iam = client("iam", operations)
user = iam.create_user(UserName="broker")["User"]["Arn"]
key = iam.create_access_key(UserName="broker")["AccessKey"]
roles = [account["role"] for account in wanted["accounts"]]
may_assume = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": roles}
iam.put_user_policy(UserName="broker", PolicyName="assume", PolicyDocument=policy(may_assume))

zones = {}
for account in wanted["accounts"]:
    iam = client("iam", account["id"])
    route53 = client("route53", account["id"])
    zone = route53.create_hosted_zone(Name=account["zone"], CallerReference=account["zone"])
    zone_id = zone["HostedZone"]["Id"].rsplit("/", 1)[-1]
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": user},
        "Condition": {"StringEquals": {"sts:ExternalId": account["external_id"]}},
    }
    iam.create_role(RoleName="zonefold", AssumeRolePolicyDocument=policy(trust))
    look = {
        "Effect": "Allow",
        "Action": ["route53:ListHostedZones", "route53:GetChange"],
        "Resource": "*",
    }
    work = {
        "Effect": "Allow",
        "Action": ["route53:ListResourceRecordSets", "route53:ChangeResourceRecordSets"],
        "Resource": f"arn:aws:route53:::hostedzone/{zone_id}",
    }
    iam.put_role_policy(RoleName="zonefold", PolicyName="records", PolicyDocument=policy(look, work))
    zones[account["zone"]] = zone_id

json.dump({"key_id": key["AccessKeyId"], "secret": key["SecretAccessKey"], "zones": zones}, sys.stdout)
