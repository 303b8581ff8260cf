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


iam = client("iam", wanted["operations"])
iam.create_user(UserName="broker")
iam.put_user_policy(UserName="broker", PolicyName="assume", PolicyDocument=wanted["broker_policy"])
key = iam.create_access_key(UserName="broker")["AccessKey"]

zones = {}
for account in wanted["accounts"]:
    iam = client("iam", account["id"])
    iam.create_role(RoleName="zonefold", AssumeRolePolicyDocument=account["trust"])
    iam.put_role_policy(RoleName="zonefold", PolicyName="records", PolicyDocument=account["policy"])
    zone = client("route53", account["id"]).create_hosted_zone(Name=account["zone"], CallerReference=account["zone"])
    zones[account["zone"]] = zone["HostedZone"]["Id"].rsplit("/", 1)[-1]

json.dump({"key_id": key["AccessKeyId"], "secret": key["SecretAccessKey"], "zones": zones}, sys.stdout)
