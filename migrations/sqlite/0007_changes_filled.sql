-- Apart from the columns, so that nobody waits for the table meanwhile.
update changes
   set set_identifier = json_extract(change, '$.key.set_identifier'),
       action = case when json_type(change, '$.before') is null then 'create'
                     when json_type(change, '$.after') is null then 'delete'
                     else 'update' end;
